"""The protocol of rnnjax: a `Cell` is one time step, a `Rule` is its backward pass.

Both are NamedTuples of pure functions, so they can be passed, printed, replaced
(`cell._replace(...)`) and closed over without a class hierarchy. Shapes are written time
first: `xs [T, ..., D]` is a sequence, `x_t [..., D]` one step of it, and `...` stands for
any batch dimensions, none included. Suffix `_t` means at step t, `_tm1` at step t - 1,
`_ct` the cotangent ∂C/∂(·) of a value, where C is the scalar that is differentiated.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

Array = jax.Array
Params = Any  # a pytree of weights, a NamedTuple in every cell of this library
Carry = Any  # a pytree of state, each leaf [..., H]
Tape = Any  # a pytree: what a rule saves at one step for its backward pass
PyTree = Any

Clip = Callable[[Array], Array]


class Init(Protocol):
    """`(key, input_size) -> params`: draw the weights for inputs with `input_size` features."""

    def __call__(self, key: Array, input_size: int, /) -> Params: ...


class InitialCarry(Protocol):
    """`(params, batch_shape, key=None) -> carry`: the state before the first step.

    A `key` asks for the training-time randomness of cells that have any (dropout, zoneout);
    without one they run in their deterministic, evaluation form. Other cells ignore it.
    """

    def __call__(
        self, params: Params, batch_shape: tuple[int, ...], key: Array | None = None, /
    ) -> Carry: ...


class Step(Protocol):
    """`(params, carry, x_t) -> (carry, y_t)`: one time step, causal and pure.

    `jax.lax.scan(functools.partial(cell.step, params), carry, xs)` always works.
    """

    def __call__(self, params: Params, carry: Carry, x_t: PyTree, /) -> tuple[Carry, Array]: ...


class Project(Protocol):
    """`(params, xs) -> zs`: all of the step that need not wait for the carry.

    It acts on the last axis alone, so it takes a whole sequence `[T, ..., D]` (one matrix
    product) as well as one step `[..., D]`.
    """

    def __call__(self, params: Params, xs: PyTree, /) -> PyTree: ...


class Forward(Protocol):
    """`(params, carry, z_t) -> ((carry, y_t), tape_t)`: the rest of the step, and what it saves."""

    def __call__(
        self, params: Params, carry: Carry, z_t: PyTree, /
    ) -> tuple[tuple[Carry, Array], Tape]: ...


class Backward(Protocol):
    """`(params, tape_t, carry_ct, y_ct, clip) -> (carry_ct, delta_t)`: one step back in time.

    Takes ∂C/∂carry_t (the part that arrives from step t + 1) and ∂C/∂y_t; returns
    ∂C/∂carry_{t-1} and δ_t = ∂C/∂z_t, the error at the pre-activations. `clip` acts on δ_t
    before it is multiplied by the recurrent weights, so that what it cuts stays cut at every
    earlier step (Graves 2013). Leaves of the carry that have no gradient, such as PRNG keys,
    have `None` as their cotangent.
    """

    def __call__(
        self, params: Params, tape_t: Tape, carry_ct: Carry, y_ct: Array, clip: Clip, /
    ) -> tuple[Carry, PyTree]: ...


class Gradients(Protocol):
    """`(params, xs, tapes, deltas) -> (params_ct, xs_ct)`, once, after the backward loop.

    Sums the gradients of every copy of the weights in the unfolded net: one contraction over
    time and batch for each leaf.
    """

    def __call__(
        self, params: Params, xs: PyTree, tapes: Tape, deltas: PyTree, /
    ) -> tuple[Params, PyTree]: ...


class Rule(NamedTuple):
    """A cell's backward pass, derived by hand and split for speed.

    Only `backward` runs inside the reverse loop. `forward` after `project` computes exactly
    what `Cell.step` does; `rnnjax.gradients.check` holds the whole rule against autodiff and
    against central differences. A rule never changes an answer, only how it is obtained.

    `kernel` names the compiled loop that computes the same (see `rnnjax.methods.native`), where
    there is one; `layers` are the cells that may run one after the other, each over the whole
    sequence, instead of together step by step.
    """

    project: Project
    forward: Forward
    backward: Backward
    gradients: Gradients
    kernel: str | None = None
    layers: tuple["Cell", ...] = ()


class Cell(NamedTuple):
    """One time step of a recurrent net, made by a factory such as `rnnjax.lstm(128)`.

    Three functions make a cell. `rule` is optional: without it gradients come from
    `autodiff()` alone.
    """

    init: Init
    initial_carry: InitialCarry
    step: Step
    rule: Rule | None = None


class Sequence(NamedTuple):
    """A checked input sequence and all that comes with it: arrays only."""

    xs: PyTree  # [T, ..., D]
    carry: Carry  # before the first step
    fresh: Carry  # what the carry restarts from at a reset
    lengths: Array | None  # [...] int32
    resets: Array | None  # [T, ...] bool


class _Method(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def gradients(self) -> tuple[str, ...]:
        """Names of the gradient values that this method can be differentiated by."""
        ...

    def refusal(
        self, cell: Cell, gradient: "Gradient | None", params: Params, sequence: Sequence, /
    ) -> str | None:
        """Why this cannot be run here, as a sentence to show; None if it can.

        No gradient means the one that is used when none is asked for.
        """
        ...


@runtime_checkable
class Stepwise(_Method, Protocol):
    """A method that offers a loop, for a gradient to run the cell's functions in."""

    @property
    def hoist(self) -> bool:
        """Whether `Rule.project` runs once over the whole sequence, before the loop."""
        ...

    def scan(
        self, body: Callable[..., Any], carry: Carry, xs: PyTree, reverse: bool, /
    ) -> tuple[Carry, PyTree]:
        """A loop over the leading axis of xs, as `lax.scan`."""
        ...


@runtime_checkable
class Fused(_Method, Protocol):
    """A method that runs the whole sequence by itself, and is its own derivative."""

    def run(
        self, cell: Cell, params: Params, sequence: Sequence, reverse: bool, /
    ) -> tuple[Carry, PyTree]:
        """What `unroll` returns, for a problem that `refusal` has let through."""
        ...


Method = Stepwise | Fused
"""How to execute a recurrence: a hashable value such as `sequential()`."""


class Gradient(Protocol):
    """How to differentiate a recurrence: a hashable value such as `bptt()`."""

    @property
    def name(self) -> str: ...

    @property
    def clip(self) -> Clip | None:
        """What is done to δ_t inside the loop; None for nothing."""
        ...

    def run(
        self,
        cell: Cell,
        method: Stepwise,
        params: Params,
        carry: Carry,
        xs: PyTree,
        reverse: bool,
        /,
    ) -> tuple[Carry, PyTree]:
        """Run `cell` over `xs` so that `jax.grad` of the result is taken this way."""
        ...
