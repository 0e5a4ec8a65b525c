"""The protocol of rnnjax: a `Cell` is one time step, a `Rule` its backward pass, a `Structure` what
else is known of it.

All are NamedTuples of pure functions, so they can be passed, printed, compared and replaced without
a class hierarchy. Shapes are written time first: `xs [T, ..., D]` is a sequence, `x_t [..., D]` one
step of it, and `...` stands for any batch dimensions, none included. Suffix `_t` means at step t,
`_tm1` at step t - 1, `_ct` the cotangent ∂C/∂(·) of a value, where C is the scalar that is
differentiated.
"""

from collections.abc import Callable, Hashable
from inspect import signature
from pickle import PicklingError
from typing import Any, Literal, NamedTuple, Protocol

import jax

from rnnjax._calls import Call

Array = jax.Array
Params = Any  # a pytree of weights, a NamedTuple in every cell of this library
Carry = Any  # a pytree of state, every leaf [..., *features]
Tape = Any  # a pytree: what a rule saves at one step for its backward pass
PyTree = Any
Inputs = Any  # the features of one x_t: D, a shape such as (H, W, C), or a pytree of these

Clip = Callable[[Array], Array]


class Init(Protocol):
    """`(key, inputs) -> params`: draw the weights for inputs with these features.

    `inputs` is the number of features D; a tuple of sizes where x_t has several feature axes,
    such as (height, width, channels); or a pytree of these where x_t is a pytree.
    """

    def __call__(self, key: Array, inputs: Inputs, /) -> Params: ...


class InitialCarry(Protocol):
    """`(params, batch_shape, key=None) -> carry`: the state before the first step.

    Every leaf begins with the batch shape. A `key` asks for the training-time randomness of cells
    that have any (dropout, zoneout, noise); without one they run in their deterministic, evaluation
    form. Other cells ignore it.

    What is differentiable in a carry is state. Randomness goes into leaves that are not: PRNG keys,
    integers, booleans.
    """

    def __call__(
        self, params: Params, batch_shape: tuple[int, ...], key: Array | None = None, /
    ) -> Carry: ...


class Step(Protocol):
    """`(params, carry, x_t) -> (carry, y_t)`: one time step, causal and pure.

    `jax.lax.scan(functools.partial(cell.step, params), carry, xs)` always works. x_t and y_t are
    arrays or pytrees of arrays.
    """

    def __call__(self, params: Params, carry: Carry, x_t: PyTree, /) -> tuple[Carry, PyTree]: ...


class Project(Protocol):
    """`(params, xs) -> zs`: all of the step that need not wait for the carry.

    It acts on the features alone, so it takes a whole sequence `[T, ..., D]` (one matrix product)
    as well as one step `[..., D]`.
    """

    def __call__(self, params: Params, xs: PyTree, /) -> PyTree: ...


class Forward(Protocol):
    """`(params, carry, z_t) -> ((carry, y_t), tape_t)`: the rest of the step, and what it saves."""

    def __call__(
        self, params: Params, carry: Carry, z_t: PyTree, /
    ) -> tuple[tuple[Carry, PyTree], Tape]: ...


class Backward(Protocol):
    """`(params, tape_t, carry_ct, y_ct, clip) -> (carry_ct, delta_t)`: one step back in time.

    Takes ∂C/∂carry_t (the part that arrives from step t + 1) and ∂C/∂y_t; returns
    ∂C/∂carry_{t-1} and δ_t = ∂C/∂z_t, the error at the pre-activations. `clip` acts on δ_t
    before it is multiplied by the recurrent weights, so that what it cuts stays cut at every
    earlier step (Graves 2013). Leaves of the carry that have no gradient, such as PRNG keys,
    have `None` as their cotangent.
    """

    def __call__(
        self, params: Params, tape_t: Tape, carry_ct: Carry, y_ct: PyTree, clip: Clip, /
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
    what `Cell.step` does; `rnnjax.gradients.check` compares the whole rule with the step, with
    autodiff and with central differences. A rule never changes an answer, only how it is obtained.
    """

    project: Project
    forward: Forward
    backward: Backward
    gradients: Gradients
    step: Step | None = None  # the step that it is the rule of; `Cell` fills it in


class Linear(NamedTuple):
    """A step that is linear in its carry.

        c_t = a_t ∘ c_{t-1} + b_t,   (a_t, b_t) = coefficients(params, x_t)
        y_t = readout(params, c_t, x_t)

    Both functions act on the features alone, so they take all steps `[T, ..., D]` at once as well
    as one. a and b have the structure of the carry. With `product="diagonal"` a_t has the shape of
    the carry and ∘ multiplies entry by entry; with `"matrix"` it is `[..., K, K]` and multiplies a
    carry `[..., K, V]` from the left.
    """

    coefficients: Callable[[Params, PyTree], tuple[Carry, Carry]]
    readout: Callable[[Params, Carry, PyTree], PyTree]
    product: Literal["diagonal", "matrix"] = "diagonal"


def _itself(x: PyTree) -> PyTree:
    return x


def _and_nothing(x: PyTree) -> tuple[PyTree, None]:
    return x, None


class Around(NamedTuple):
    """A step that runs another cell's, and changes its input and output alone.

        c_{t-1}, s_{t-1} = split(carry_{t-1});   s_t, drawn_t = draw(s_{t-1})
        x'_t = before(params, drawn_t, x_t)
        c_t, y'_t = cell.step(own(params), c_{t-1}, x'_t)
        y_t = after(params, x_t, y'_t);   carry_t = join(c_t, s_t)

    What changes them is known without c, so `cell` can run the whole sequence by any method, such
    as its compiled kernel. `before` and `after` act on the features alone, so they take all steps
    `[T, ..., D]` at once as well as one. s is noise, which has no gradient (PRNG keys, for
    example), or None.
    """

    cell: "Cell"
    own: Callable[[Params], Params] = _itself
    split: Callable[[Carry], tuple[Carry, PyTree]] = _and_nothing
    join: Callable[[Carry, PyTree], Carry] = lambda carry, _: carry
    draw: Callable[[PyTree], tuple[PyTree, PyTree]] = _and_nothing
    before: Callable[[Params, PyTree, PyTree], PyTree] = lambda _, __, xs: xs
    after: Callable[[Params, PyTree, PyTree], PyTree] = lambda _, __, ys: ys


class Inverse(Protocol):
    """`(params, carry_t, x_t) -> carry_{t-1}`: the step run backwards in time."""

    def __call__(self, params: Params, carry: Carry, x_t: PyTree, /) -> Carry: ...


class Structure(NamedTuple):
    """What is known of a step besides what it computes. The default claims nothing.

    It never changes an answer, only how it is obtained, which combinators fit and what is refused.
    `rnnjax.gradients.check` compares the step with its linear form, its layers, the cell that it is
    around and its inverse, and y_t with `output`, and holds it to `mixing`.

    `mixing` says that the step acts unit by unit: every differentiable leaf of the carry is
    [..., H], the last axis of every array of params is one or several blocks of H entries, one a
    unit, and unit j of the new carry and of y_t depends on entries j of all of these alone, but for
    products of the carry with the params that are named, such as "w_h" [H, G], the only ones by
    which the rule's `backward` crosses units. () is a cell whose units do not see each other, and
    None claims nothing.

    `params` are shapes in the place of the arrays: a str such as "D" for a size that the inputs
    decide, None where the cell has no array. With them the cell refuses the params of another.
    """

    form: Hashable = None  # the textbook function it computes: "lstm", ("vanilla", "tanh")
    layers: tuple["Cell", ...] = ()  # the cells that it runs one above the other
    around: Around | None = None  # the cell that it runs, between changes of its input and output
    linear: Linear | None = None  # the same step as an affine map of its carry
    inverse: Inverse | None = None  # the carry before the step, from the one after it
    feature_axes: Any = 1  # trailing axes of an input that are features; an int, or one a leaf
    through_weights: tuple[str, ...] = ()  # carry fields read through a weight matrix alone
    mixing: tuple[str, ...] | None = None  # params that join units, see above
    output: str | None = None  # the carry field that y_t is
    skips: "Cell | None" = None  # the cell to whose output this one adds its input
    inside: "Cell | None" = None  # the cell whose steps these are, on params.cell
    params: Any = None  # the shape of every array of its params: LSTMParams(("D", 32), …)
    call: Call | None = None  # the factory call that made it
    made_for: tuple[Step, Rule | None] | None = None  # the step and rule; `Cell` fills it in

    def __hash__(self) -> int:
        """Of feature_axes and params in dicts too: a `Cell` is a static argument of `jax.jit`."""
        try:
            return tuple.__hash__(self)
        except TypeError:
            trees = (self.feature_axes, self.params)
            rest = self._replace(feature_axes=jax.tree.structure(trees), params=None)
            return hash((tuple(rest), *jax.tree.leaves(trees)))


class _Fields(NamedTuple):
    init: Init
    initial_carry: InitialCarry
    step: Step
    rule: Rule | None = None
    structure: Structure = Structure()


class Cell(_Fields):
    """One time step of a recurrent net, made by a factory such as `rnnjax.lstm(128)`.

    Three functions make a cell: `init`, `initial_carry` and `step`. `rule`, its hand-derived
    backward pass, and `structure`, what else is known of it, are optional, and belong to the step
    that the cell is made with:

    - a rule that is replaced (`cell._replace(rule=cell.rule._replace(backward=mine))`) is the one
      that runs, under every gradient and method that accepts the cell;
    - a step that is replaced alone is an error in `unroll`: use `rnnjax.wrap`, or replace the rule
      with it (rule=None drops it).
    """

    __slots__ = ()

    def __new__(
        cls,
        init: Init,
        initial_carry: InitialCarry,
        step: Step,
        rule: Rule | None = None,
        structure: Structure = Structure(),  # noqa: B008  an immutable NamedTuple
    ) -> "Cell":
        if rule is not None and rule.step is None:
            rule = rule._replace(step=step)
        if structure.made_for is None:
            structure = structure._replace(made_for=(step, rule))
        return super().__new__(cls, init, initial_carry, step, rule, structure)

    def __repr__(self) -> str:
        call = self.structure.call
        if call is not None and self.structure.made_for == (self.step, self.rule):
            return str(call)
        made = "" if call is None else f" made from {call}"
        rule = "no rule" if self.rule is None else "a rule"
        return f"<Cell{made}: step {getattr(self.step, '__qualname__', self.step)}, {rule}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the factory call that made it, from which it is made again."""
        call = self.structure.call
        if call is not None and self.structure.made_for == (self.step, self.rule):
            return call.reduced()
        local = [f for f in self[:3] if "<locals>" in getattr(f, "__qualname__", "")]
        if local or call is not None:
            raise PicklingError(
                f"{self!r} cannot be pickled: its functions are local ones, or were replaced. Make "
                "it in a function at the top of a module, decorated with rnnjax.cells.factory, and "
                "the call of that is what is pickled"
            )
        return Cell, tuple(self)[:4]

    def __copy__(self) -> "Cell":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Cell":
        return self  # as all that it is made of, it cannot change


def stamped(cell: Cell, call: Call) -> Cell:
    """`cell`, which prints as the factory call that made it."""
    return cell._replace(structure=cell.structure._replace(call=call))


def known(cell: Cell) -> Structure:
    """What `cell.structure` says that still holds for the step and rule that the cell has now.

    With another rule nothing may run in its place: no kernel, no layers, no linear form. With
    another step only the axes of its inputs are known.
    """
    structure = cell.structure
    if structure.made_for is None or structure.made_for == (cell.step, cell.rule):
        return structure
    if structure.made_for[0] != cell.step:
        return Structure(feature_axes=structure.feature_axes)
    dropped = ("around", "linear", "mixing", "skips", "inside", "call")
    return structure._replace(form=None, layers=(), **dict.fromkeys(dropped))


def initial_carry(
    cell: Cell, params: Params, batch_shape: tuple[int, ...], key: Array | None = None
) -> Carry:
    """The cell's initial carry, with a key only if there is one and the cell takes it."""
    if key is None or not _takes_key(cell.initial_carry):
        return cell.initial_carry(params, batch_shape)
    return cell.initial_carry(params, batch_shape, key)


def _takes_key(initial_carry: InitialCarry) -> bool:
    """Whether it has a third argument: a user's cell without randomness may leave it out."""
    try:
        signature(initial_carry).bind(None, (), None)
    except TypeError:
        return False
    return True
