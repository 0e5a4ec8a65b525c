"""An online algorithm by itself: gradients along an endless stream, one step at a time."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rnnjax._checks import (
    arrays_of,
    check_cell,
    check_inputs,
    check_reset,
    described,
    in_brackets,
)
from rnnjax._dtypes import promoted
from rnnjax._fields import output_leaf
from rnnjax._leaves import differentiable
from rnnjax._params import check_params, in_dtype_of
from rnnjax._random import check_key, example_keys
from rnnjax._types import Array, Carry, Cell, Params, PyTree, initial_carry as carry_of, known
from rnnjax.online._engine import Start, over_batch, summed
from rnnjax.online._gradient import Online
from rnnjax.online._rows import Theta, replaced, rows_ct, state as state_of
from rnnjax.running import leading_shape, restart_carry, select, validate_shaped


class LearnerState(NamedTuple):
    """All that a stream leaves behind. Its size does not depend on how long the stream is."""

    carry: Carry  # the cell's
    influence: Any  # of params on the carry, leaves [..., …]; what it holds is the algorithm's
    age: Array  # [...] int32: steps since the example's episode began


class LearnerInit(Protocol):
    """`(params, x_t, *, carry=None, key=None) -> state`: before the first step.

    x_t [..., D] is an input, or an array of its shape: its values are not read. `carry` and `key`
    are as for `rnnjax.unroll`.
    """

    def __call__(
        self, params: Params, x_t: PyTree, *, carry: Carry | None = None, key: Array | None = None
    ) -> LearnerState: ...


class LearnerStep(Protocol):
    """`(params, state, x_t, *, reset=None, initial_carry=None, key=None) -> (state, y_t)`.

    One step. `reset` [...] booleans, true for the examples whose episode begins with it: carry and
    influence start again, from `initial_carry` if given, as in `rnnjax.step_with_reset`. What is
    given is a constant: a carry that depends on params and holds randomness too, as of
    `learned_carry(zoneout(...))`, is drawn by `key` instead, a new one for each step.
    """

    def __call__(
        self,
        params: Params,
        state: LearnerState,
        x_t: PyTree,
        *,
        reset: Array | None = None,
        initial_carry: Carry | None = None,
        key: Array | None = None,
    ) -> tuple[LearnerState, PyTree]: ...


class LearnerGradient(Protocol):
    """`(state, y_ct, carry_ct=None) -> params_ct`: of what was lost at this step, summed over the
    batch, with respect to params, through all the past that the algorithm keeps.

    `y_ct` is ∂C_t/∂y_t of the step's cost, as `jax.grad` of a loss of y_t gives it; `carry_ct` is
    ∂C_t/∂carry_t where the cost reads the carry too. In float32 at least.
    """

    def __call__(
        self, state: LearnerState, y_ct: PyTree, carry_ct: Carry | None = None
    ) -> Params: ...


class Learner(NamedTuple):
    """A cell that is differentiated forwards in time: pure functions, made by `learner`."""

    init: LearnerInit
    step: LearnerStep
    gradient: LearnerGradient


def learner(cell: Cell, algorithm: Online) -> Learner:
    """Differentiate a cell along a stream without storing it: real-time learning.

    The gradient of Σ_t C_t(y_t) is the sum of `gradient(state_t, ∂C_t/∂y_t)` over the steps; over
    a sequence it is what `unroll(..., gradient=algorithm)` gives. Memory and the time of a step do
    not depend on how many steps there were.

    Params may be updated between two steps. The influence that is carried on is then that of the
    params of before ("stale"), an error of the order of the learning rate; gradients that are
    summed and applied at the end of an episode have none.

    There is no gradient with respect to inputs: what x_t does to later steps is not known when it
    is read. What it does to y_t in its own step is `jax.vjp` of `cell.step` at the carry before. An
    encoder whose whole influence is to be kept is part of the cell. docs/how_to/streams.md does
    both.

    Works in `lax.scan`, under `jit` and `vmap`, and with batches of any rank, whose examples may
    start anew one by one. `uoro(key)` and `kf_rtrl(key)` draw other signs for each example of a
    batch; under `vmap` over environments, give each a learner with a key of its own, or all have
    the same signs.

    Args:
      cell: any `Cell` that the algorithm is defined for.
      algorithm: `rtrl()`, `snap(n)`, `rflo()`, `uoro(key)`, `kf_rtrl(key)` or `eprop()`.

    Returns:
      `Learner(init, step, gradient)`.

    Raises:
      TypeError: no cell, or no online algorithm.
      ValueError: the algorithm is not defined for this cell; the error says why.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> learn = rnnjax.online.learner(cell, rnnjax.online.snap(1))
      >>> def live(running, x_t):  # follow a stream: y_t is to be the input's first entry
      ...     params, state = running
      ...     state, y_t = learn.step(params, state, x_t)
      ...     y_ct = jax.grad(lambda y: jnp.mean((y - x_t[:, :1]) ** 2))(y_t)
      ...     down = learn.gradient(state, y_ct)
      ...     return (jax.tree.map(lambda p, g: p - 0.1 * g, params, down), state), y_t
      >>> xs = jax.random.normal(jax.random.key(1), (100, 2, 3))
      >>> (params, state), ys = jax.lax.scan(live, (params, learn.init(params, xs[0])), xs)
      >>> ys.shape, state.age.tolist()
      ((100, 2, 4), [100, 100])

    References:
      Marschall, Cho & Savin (2020), A unified framework of online learning algorithms for training
      recurrent neural networks, Journal of Machine Learning Research 21.
    """
    if isinstance(cell, Online) and isinstance(algorithm, Cell):
        raise TypeError("the cell comes first, as in learner(cell, rnnjax.online.rtrl())")
    if not isinstance(algorithm, Online):
        raise TypeError(
            "algorithm must be an online algorithm such as rnnjax.online.rtrl(), got "
            f"{described(algorithm)}"
        )
    reason = algorithm.refusal(check_cell(cell))
    if reason:
        raise ValueError(reason)
    engine = algorithm.engine(cell)
    outputs: dict[Any, Any] = {}  # the features of y_t by those of the carry, once there was a step

    def start(
        params: Params, carry: Carry, given: bool, x_t: PyTree, keys: Array | None, age: Array
    ) -> LearnerState:
        """At a carry that was given, or that is the cell's own, which may depend on params."""

        def one(carry: Carry, x_t: PyTree, key: Array | None) -> Any:
            def origin(theta: Theta) -> Array:
                own = carry if given else carry_of(cell, replaced(params, theta.params), ())
                return state_of(own)

            theta = Theta(differentiable(params))
            return engine.start(Start(cell, params, carry, x_t, origin, theta, key))

        influence = over_batch(age.shape, one)(carry, x_t, keys)
        return LearnerState(carry, influence, jnp.zeros_like(age))

    def init(
        params: Params, x_t: PyTree, *, carry: Carry | None = None, key: Array | None = None
    ) -> LearnerState:
        params, x_t = check_params(cell, params), in_dtype_of(params, check_inputs(x_t))
        one_step = jax.tree.map(lambda x: x[None], x_t)
        sequence, _, batch_shape = validate_shaped(cell, params, one_step, carry, key)
        keys, age = example_keys(algorithm.key, batch_shape), jnp.zeros(batch_shape, jnp.int32)
        return start(params, sequence.carry, carry is not None, x_t, keys, age)

    def step(
        params: Params,
        state: LearnerState,
        x_t: PyTree,
        *,
        reset: Array | None = None,
        initial_carry: Carry | None = None,
        key: Array | None = None,
    ) -> tuple[LearnerState, PyTree]:
        _check_state("step(params, state, x_t)", state)
        params, x_t = check_params(cell, params), in_dtype_of(params, check_inputs(x_t))
        batch_shape = state.age.shape
        _check_batch("x_t", _batch_shape(cell, params, x_t), batch_shape)
        if reset is None and initial_carry is not None:
            raise ValueError(
                "initial_carry is where episodes begin: pass reset= too, which says where"
            )
        if key is not None:
            _check_key_of_step(key, reset, initial_carry)
        if reset is not None:
            reset, given = check_reset(reset), initial_carry is not None
            _check_batch("reset", reset.shape, batch_shape)
            if key is not None:
                initial_carry = carry_of(cell, params, batch_shape, key)
            initial_carry = restart_carry(cell, params, state.carry, batch_shape, initial_carry)
            keys = getattr(state.influence, "key", None)
            fresh = start(params, initial_carry, given, x_t, keys, state.age)
            state = select(reset, fresh, state)

        def one(influence: Any, carry: Carry, x_t: PyTree) -> Any:
            return engine.advance(cell, params, influence, carry, x_t)

        carry, influence, age = state
        carry, y_t, influence = over_batch(batch_shape, one)(influence, carry, x_t)
        outputs[_features(carry, batch_shape)] = _features(y_t, batch_shape)
        return LearnerState(carry, influence, age + 1), y_t

    def gradient(state: LearnerState, y_ct: PyTree, carry_ct: Carry | None = None) -> Params:
        _check_state("gradient(state, y_ct)", state)
        batch_shape = state.age.shape
        features = _output_features(cell, state.carry, batch_shape)
        features = features or outputs.get(_features(state.carry, batch_shape))
        y_ct = _output_cotangent(y_ct, batch_shape, features)
        if carry_ct is not None:
            carry_ct = _carry_cotangent(state.carry, carry_ct)

        def one(influence: Any, carry: Carry, y_ct: PyTree, carry_ct: Carry | None) -> Params:
            return engine.read(cell, influence, rows_ct(cell, carry, carry_ct, y_ct)).params

        each = over_batch(state.age.shape, one)(state.influence, state.carry, y_ct, carry_ct)
        return summed(state.age.shape, each)

    return Learner(init, step, gradient)


def _check_state(call: str, state: Any) -> None:
    if not isinstance(state, LearnerState):
        raise TypeError(
            f"state must be a LearnerState, as init(params, x_t) and step return it, in {call}, "
            f"got {described(state)}"
        )


def _check_key_of_step(key: Any, reset: Any, initial_carry: Any) -> None:
    check_key(key)
    if reset is None or initial_carry is not None:
        raise ValueError(
            "key draws the carry of episodes that begin with this step: pass it with reset= and "
            "without initial_carry="
        )


def _batch_shape(cell: Cell, params: Params, x_t: PyTree) -> tuple[int, ...]:
    return leading_shape(cell, params, jax.tree.map(lambda x: x[None], x_t))[1]


def _features(tree: PyTree, batch_shape: tuple[int, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The structure of arrays [..., *features] and their features."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(jnp.shape(leaf)[len(batch_shape) :] for leaf in leaves)


def _output_features(cell: Cell, carry: Carry, batch_shape: tuple[int, ...]) -> Any:
    """The `_features` of y_t where it is a part of the carry; None where that is not known."""
    output = known(cell).output
    if output is None:
        return None
    return _features(jax.tree.leaves(carry)[output_leaf(carry, output)], batch_shape)


def _output_cotangent(y_ct: PyTree, batch_shape: tuple[int, ...], features: Any) -> PyTree:
    """`y_ct` in floating point, if it has the shape of a y_t of these features, where known."""
    y_ct = jax.tree.map(lambda x: jnp.asarray(x, promoted(x, jnp.float32)), arrays_of(y_ct))
    shapes = [leaf.shape for leaf in jax.tree.leaves(y_ct)]
    batched = all(shape[: len(batch_shape)] == batch_shape for shape in shapes)
    if batched and features in (None, _features(y_ct, batch_shape)):
        return y_ct
    sizes = [("...",)] if features is None else features[1]
    wanted = ", ".join(in_brackets((*batch_shape, *each)) for each in sizes)
    raise ValueError(
        f"y_ct is {described(y_ct)}, expected the cotangent ∂C/∂y_t of y_t, {wanted}, as jax.grad "
        "of a cost of y_t gives it"
    )


def _carry_cotangent(carry: Carry, carry_ct: Carry) -> Carry:
    """`carry_ct` without leaves that have no cotangent, if its shapes are those of the carry."""
    float0 = jax.dtypes.float0
    carry_ct = jax.tree.map(lambda x: None if x.dtype == float0 else x, carry_ct)
    given, own = (jax.tree.map(jnp.shape, tree) for tree in (carry_ct, differentiable(carry)))
    if given != own:
        raise ValueError(
            f"carry_ct is {described(carry_ct)}, expected the cotangents ∂C/∂carry_t of a carry "
            f"{described(carry)}: None for leaves that are not differentiable"
        )
    return carry_ct


def _check_batch(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise ValueError(
            f"{name} has the batch shape {shape}, expected {expected}, that of the state: a "
            "learner is started for a batch by init(params, x_t)"
        )
