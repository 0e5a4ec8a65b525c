"""`record`: the error signal ∂C/∂carry_t at every step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from rnnjax._checks import check_callable, check_cost, is_inexact
from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._cell import validate_masked
from rnnjax.flow._float64 import in_float64
from rnnjax.flow._probe import Probed, probed
from rnnjax.running import Flagged, beside_features, final_carry, prepare


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("cost", "carry_ct", "reads"),
    meta_fields=("batch_ndim",),
)
@dataclass(frozen=True)
class Recording:
    """A cost and its gradients with respect to the carry at every step; made by `record`."""

    cost: Array  # [] C
    carry_ct: Carry  # ∂C/∂carry_t, differentiable leaves [T, ..., *features]; None for others
    batch_ndim: int  # how many axes after time are batch
    reads: Array | None = None  # [T, ...] bool: the steps whose y_t or carry_t the cost reads


@in_float64
def record(
    cell: Cell,
    params: Params,
    xs: PyTree,
    cost: Callable[[Carry, PyTree], Array],
    *,
    carry: Carry | None = None,
    key: Array | None = None,
    lengths: Array | None = None,
    resets: Array | None = None,
    mask: Array | None = None,
    last: bool = False,
) -> Recording:
    """The exact gradient of a cost with respect to the carry at every step of a sequence.

        ∂C/∂carry_t = ∂C/∂carry_{t+1} ∂carry_{t+1}/∂carry_t + ∂C/∂y_t ∂y_t/∂carry_t

    This is the total derivative, by every path: of an LSTM, ∂C/∂h_t counts h_t's way into y_t
    and into step t + 1, and ∂C/∂c_t also c_t's way into h_t. It is what backpropagation
    through time passes from step to step, obtained here by autodiff for any cell, with or
    without a hand-derived rule. ∂C/∂h_t is the derivative of the cost with respect to a small
    perturbation that is added to h_t as soon as it has been computed. For a complex leaf it is
    ∂C/∂Re - i ∂C/∂Im, as `jax.grad` returns it.

    So the fields of ∂C/∂carry_t differ from those of a chain of `jacobians`, in which s_t is one
    vector whose entries change independently: there c_t counts without its path through h_t.

    A cost that reads the outputs of many steps makes ∂C/∂carry_t a sum of the errors of all steps
    from t on, whose size says little about how one error travels: it grows with T - t even where
    nothing explodes, and stays where everything vanishes. With `last=True` it is one error:

        ∂C/∂carry_t = ∂C/∂carry_T ∂carry_T/∂carry_t        T the last step that the cost reads

    Two fields that a step sets to the same value share its derivative. A field that a step
    returns unchanged is perturbed in its output, after the step has read it.

    Args:
      cell: the `Cell`. Its step may use any JAX operation; it is refused only if one loop,
        condition or custom derivative computes the carry together with other results.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      cost: `cost(carry, ys) -> C`, a scalar function of what `rnnjax.unroll` returns: the
        carry after the last step, and the outputs `[T, ..., H]`.
      carry, key, lengths, resets: as for `rnnjax.unroll`. In padding ∂C/∂carry_t is zero. What a
        step draws by a key is what it would draw in float64, not what it draws in float32.
      mask: as for `rnnjax.unroll`. The steps that it skips are left out, so that rates are those of
        the steps that are run: t counts these, and behind them is padding.
      last: take the gradient by the last step alone that the cost reads, in each example; the
        outputs before it count as constants. What `verdict` needs.

    Returns:
      A `Recording` of the cost and of its gradients, in the structure of the carry with a leading
      time axis: `carry_ct.h[t - 1]` is ∂C/∂h_t. Leaves that have no gradient, such as PRNG keys,
      are None. `gradient_norms(recording)` returns their norms.

    Raises:
      TypeError: a cost that is not real, and as `rnnjax.unroll`.
      ValueError: a cost that is not a scalar, a step that is refused (see `cell`), and as
        `rnnjax.unroll`.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.identity_rnn(1)
      >>> params = cell.init(jax.random.key(0), 1)
      >>> xs = jax.numpy.ones((3, 1))
      >>> recording = rnnjax.flow.record(cell, params, xs, lambda carry, ys: carry.h.sum())
      >>> recording.carry_ct.h[:, 0].tolist()
      [1.0, 1.0, 1.0]

    References:
      Bengio, Simard & Frasconi (1994), Learning long-term dependencies with gradient descent
      is difficult, IEEE Transactions on Neural Networks 5.
    """
    sequence, steps, batch_shape, in_time = validate_masked(
        cell, params, xs, mask, carry, key, lengths, resets
    )
    cost = cost if in_time is None else in_time.cost(cost)
    return trace(cell, params, sequence, (steps, *batch_shape), cost, last)[0]


def trace(
    cell: Cell,
    params: Params,
    sequence: Sequence,
    shape: tuple[int, ...],
    cost: Callable[[Carry, PyTree], Array],
    last: bool,
) -> tuple[Recording, Carry, PyTree]:
    """`record` of a validated sequence of shape `[T, ...]`, and ∂C/∂(last carry) and ∂C/∂ys."""
    check_callable("cost", cost, "(carry, ys) -> scalar")
    leaves, tree = jax.tree.flatten(sequence.carry)
    nudges = [jnp.zeros((shape[0], *x.shape), x.dtype) for x in leaves if is_inexact(x)]
    (end, ys), back = jax.vjp(partial(_run, cell, params, sequence), nudges)
    value, back_from_cost = jax.vjp(lambda end, ys: check_cost(cost(end, ys)), end, ys)
    end_ct, ys_ct = back_from_cost(jnp.ones_like(value))
    reads = _reads(_known(end_ct), _known(ys_ct), sequence.lengths, shape)
    if last:
        reads, ys_ct = _last_alone(reads, ys_ct)
    found = iter(back((end_ct, ys_ct))[0])
    carry_ct = [next(found) if is_inexact(leaf) else None for leaf in leaves]
    recording = Recording(value, jax.tree.unflatten(tree, carry_ct), len(shape) - 1, reads)
    return recording, end_ct, ys_ct


@partial(jax.jit, static_argnums=3)
def _reads(
    end_ct: list[Array], ys_ct: list[Array], lengths: Array | None, shape: tuple[int, ...]
) -> Array:
    """Whether the cost has a derivative by y_t, or by the last carry: `[T, ...]`."""

    def by(leaf: Array, leading: int) -> Array:
        return jnp.any(leaf != 0, axis=tuple(range(leading, leaf.ndim)))

    at_end = jnp.zeros(shape[1:], bool)
    for leaf in end_ct:
        at_end = at_end | by(leaf, len(shape) - 1)
    lengths = jnp.full(shape[1:], shape[0]) if lengths is None else lengths
    place = jnp.arange(1, shape[0] + 1, dtype=lengths.dtype).reshape(
        (shape[0],) + (1,) * (len(shape) - 1)
    )
    reads = at_end[None] & (place == lengths[None])
    for leaf in ys_ct:
        reads = reads | by(leaf, len(shape))
    return reads & (place <= lengths[None])  # what the cost makes of padding reaches no step


def _known(tree: PyTree) -> list[Array]:
    """The leaves without the placeholders of integers and PRNG keys."""
    return [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype != jax.dtypes.float0]


def _last_alone(reads: Array, ys_ct: PyTree) -> tuple[Array, PyTree]:
    """The last step that each example is read at, and the derivatives by its output alone."""
    later = jnp.flip(jnp.cumsum(jnp.flip(reads, 0), axis=0), 0) > 1
    reads = reads & ~later

    def alone(leaf: Array) -> Array:
        if leaf.dtype == jax.dtypes.float0:
            return leaf
        return jnp.where(beside_features(reads, leaf), leaf, 0)

    return reads, jax.tree.map(alone, ys_ct)


@partial(jax.jit, static_argnums=0)
def _run(
    cell: Cell, params: Params, sequence: Sequence, nudges: list[Array]
) -> tuple[Carry, PyTree]:
    # Perturb the inner cell, before freezing and restarting are wrapped around it: a frozen step
    # discards the cell's new carry, and with it the perturbation.
    ready, carry, inputs = prepare(probed(cell), params, sequence)
    carry, ys = jax.lax.scan(partial(ready.step, params), carry, _beside(inputs, nudges))
    return final_carry(carry), ys


def _beside(inputs: PyTree, nudges: list[Array]) -> PyTree:
    if isinstance(inputs, Flagged):
        return Flagged(_beside(inputs.value, nudges), inputs.flag)
    return Probed(inputs, nudges)
