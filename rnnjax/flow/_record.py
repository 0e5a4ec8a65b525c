"""`record`: the error signal ∂C/∂carry_t at every step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._checks import is_inexact
from rnnjax._execution import Sequence
from rnnjax._types import Array, Carry, Cell, Params, PyTree
from rnnjax.flow._probe import Probed, probed
from rnnjax.running import Flagged, final_carry, leading_shape, prepare, validate


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("cost", "carry_ct"),
    meta_fields=("batch_ndim",),
)
@dataclass(frozen=True)
class Recording:
    """A cost and its gradients with respect to the carry at every step; made by `record`."""

    cost: Array  # [] C
    carry_ct: Carry  # ∂C/∂carry_t, differentiable leaves [T, ..., *features]; None for others
    batch_ndim: int  # how many axes after time are batch


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

    Two fields that a step sets to the same value share its derivative. A field that a step
    returns unchanged is perturbed in its output, after the step has read it.

    Args:
      cell: the `Cell`. Its step may use any JAX operation; it is refused only if one loop,
        condition or custom derivative computes the carry together with other results.
      params: its weights.
      xs: inputs `[T, ..., D]`.
      cost: `cost(carry, ys) -> C`, a scalar function of what `rnnjax.unroll` returns: the
        carry after the last step, and the outputs `[T, ..., H]`.
      carry, key, lengths, resets: as for `rnnjax.unroll`. In padding ∂C/∂carry_t is zero.

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
    sequence = validate(cell, params, xs, carry, key, lengths, resets)
    steps = jax.tree.leaves(xs)[0].shape[0]
    leaves, tree = jax.tree.flatten(sequence.carry)
    nudges = [jnp.zeros((steps, *leaf.shape), leaf.dtype) for leaf in leaves if is_inexact(leaf)]

    def cost_of(nudges: list[Array]) -> Array:
        return _scalar(cost(*_run(cell, params, sequence, nudges)))

    value, nudges_ct = jax.value_and_grad(cost_of)(nudges)
    found = iter(nudges_ct)
    carry_ct = [next(found) if is_inexact(leaf) else None for leaf in leaves]
    batch_ndim = len(leading_shape(cell, params, xs, lengths)[1])
    return Recording(value, jax.tree.unflatten(tree, carry_ct), batch_ndim)


def _scalar(value: Any) -> Array:
    value = jnp.asarray(value)
    if value.shape != ():
        raise ValueError(
            f"cost(carry, ys) must return a scalar, got shape {value.shape}: take a sum or a mean"
        )
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(f"cost(carry, ys) must return a real number, got dtype {value.dtype}")
    return value


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
