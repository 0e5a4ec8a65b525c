"""`associative()`: the whole sequence of a cell that is linear in its carry, as one linear scan."""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from rnnjax._calls import Value
from rnnjax._checks import check_linear, is_inexact
from rnnjax._dtypes import at_least_float32
from rnnjax._execution import BaseGradient, Method, Run, Sequence
from rnnjax._types import Array, Carry, Cell, Linear, Params, PyTree, initial_carry, known
from rnnjax.gradients import checkpointed
from rnnjax.methods._linear_calls import times
from rnnjax.methods._linear_scan import linear_scan
from rnnjax.running import Flagged, fill_padding, freezing, mask, select

_BYTES = 1 << 17  # of a piece's coefficients: a dozen arrays of this size fit a second-level cache


@dataclass(frozen=True, repr=False)
class Associative(Value):
    """The value made by `associative()`."""

    carries: bool = field(default=False, kw_only=True)  # whether ys is (carries, ys)
    name: str = field(default="associative", init=False)

    def refusal(
        self, cell: Cell, base: BaseGradient | None, params: Params, sequence: Sequence
    ) -> str | None:
        if known(cell).linear is None:
            return (
                "this cell is not known to be linear in its carry: its structure.linear is None. "
                "Cells such as min_gru, lru and delta_net are; see rnnjax.Linear for your own"
            )
        if base is not None and base.clip is not None:
            return f"there is no loop in which δ_t could be clipped, as gradient={base} asks"
        if base is not None and base.name not in ("autodiff", "bptt"):
            return f"it cannot be differentiated by gradient={base}: its own derivative is exact"
        return None

    def bind(self, cell: Cell, base: BaseGradient | None, reverse: bool) -> Run:
        def whole(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
            last, states, ys = _run(cell, reverse, params, sequence)
            return last, (states, ys) if self.carries else ys

        def run(params: Params, sequence: Sequence) -> tuple[Carry, PyTree]:
            shape = jax.tree.leaves(sequence.xs)[0].shape
            if jax.default_backend() != "cpu" or 0 in shape or any(map(is_symbolic_dim, shape)):
                return whole(params, sequence)
            return checkpointed(_steps_in_cache(cell, params, sequence)).wrap(whole, reverse)(
                params, sequence
            )

        return run


def associative() -> Method:
    """Run a cell that is linear in its carry over the whole sequence at once.

        h_t = a_t ∘ h_{t-1} + b_t,   y_t = readout(h_t, x_t)

    For cells with a linear form (`Structure.linear`), diagonal or of matrices, real or complex:
    `min_gru`, `lru`, `delta_net`, `identity_rnn`, `indrnn` without activation, what `residual` and
    `fixed_dt` make of them, and your own. All a_t and b_t come from one product over time, then
    a linear scan gives the states, and one more, backwards in time, the gradient. On a CPU the scan
    is a compiled kernel that runs at the speed of memory, or `lax.scan` where there is none and for
    matrices; the sequence is cut in pieces that fit the cache, and the backward pass computes each
    again from its first carry, as `checkpointed` does. Elsewhere it is `lax.associative_scan` over
    all of time, whose depth is log₂ T.

    Results are those of `sequential()` up to rounding, which differs with the order of operations:
    about T ε at most for |a_t| ≤ 1. Weights in bfloat16 and float16 are computed with in float32.

    `auto()` does not take it: docs/performance.md says where it is faster than `sequential()` and
    where not.

    It can be transformed by all that JAX has, in any order: `grad`, `jvp`, `jacfwd`, `hessian`,
    `vmap`, `jit`, `shard_map`. Serves `autodiff()` and `bptt()` alike, and what wraps them.

    Raises:
      ValueError: (in `unroll`) the cell has no linear form, or the gradient clips inside the loop.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.min_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.numpy.ones((5, 2, 3))
      >>> rnnjax.unroll(cell, params, xs, method=rnnjax.associative())[1].shape
      (5, 2, 4)

    References:
      Blelloch (1990), Prefix sums and their applications, CMU-CS-90-190.
      Martin & Cundy (2018), Parallelizing linear recurrent neural nets over sequence length, ICLR.
    """
    return Associative()


def _steps_in_cache(cell: Cell, params: Params, sequence: Sequence) -> int:
    """How many steps' coefficients fill _BYTES."""
    linear: Any = known(cell).linear  # there is one, see `refusal`

    def first(params: Params, sequence: Sequence) -> Carry:
        xs = mask(params, sequence, False).xs
        return linear.coefficients(params, jax.tree.map(lambda x: x[0], xs))[0]

    a = jax.eval_shape(first, params, sequence)
    return max(4, _BYTES // max(1, sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(a))))


def _run(
    cell: Cell, reverse: bool, params: Params, sequence: Sequence
) -> tuple[Carry, Carry, PyTree]:
    """The last carry, all carries and ys."""
    xs, valid, begins = mask(params, sequence, reverse)
    xs = fill_padding(xs, sequence.lengths, valid)
    x_t = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    y_t = jax.eval_shape(cell.step, params, sequence.carry, x_t)[1]
    params, xs = widened((params, xs))
    check_linear(known(cell).linear, params, xs, sequence.carry)  # pyright: ignore
    if valid is not None:
        cell, xs = freezing(cell), Flagged(xs, valid)
    linear: Any = known(cell).linear  # there is one, see `refusal`
    a, b = linear.coefficients(params, xs)
    one = jax.eval_shape(lambda params: initial_carry(cell, params, ()), params)

    def scanned(like: Any, *leaf: Array) -> tuple[Array, Array]:
        return _scan_leaf(linear, like.ndim, reverse, begins, *leaf)

    leaves = [jax.tree.leaves(part) for part in (one, a, b, sequence.carry, sequence.fresh)]
    pairs = [scanned(*each) for each in zip(*leaves, strict=True)]
    states, last = (
        jax.tree.unflatten(jax.tree.structure(sequence.carry), part)
        for part in zip(*pairs, strict=True)
    )
    ys = linear.readout(params, states, xs)
    carry = sequence.carry
    return narrowed(last, carry), narrowed(states, carry), narrowed(ys, y_t)


def widened(tree: PyTree) -> PyTree:
    """What is inexact in float32 at least, so that no sum over time is taken in fewer bits."""

    def wide(x: Array) -> Array:
        return x.astype(at_least_float32(x)) if is_inexact(x) else x

    return jax.tree.map(wide, tree)


def narrowed(tree: PyTree, like: PyTree) -> PyTree:
    """The tree, what is inexact in the dtypes of another."""
    return jax.tree.map(lambda x, to: x.astype(to.dtype) if is_inexact(x) else x, tree, like)


def _scan_leaf(
    linear: Linear,
    features: int,
    reverse: bool,
    begins: Array | None,
    a: Array,
    b: Array,
    h: Array,
    fresh: Array,
) -> tuple[Array, Array]:
    """All states and the last one of one leaf of the carry, with any batch and feature axes."""
    dtype = at_least_float32(h)
    a, b, h, fresh = (x.astype(dtype) for x in (a, b, h, fresh))
    if begins is not None:
        # An episode's first step reads `fresh`, and nothing of what came before.
        b = b + times(linear.product, a, select(begins, fresh[None], jnp.zeros_like(b)))
    held = 2 if linear.product == "matrix" else features  # axes at the end that are no batch
    shape, batch = h.shape, h.shape[: h.ndim - held]
    size, steps = math.prod(batch), b.shape[0]
    if begins is not None:
        flags = begins.reshape(begins.shape + (1,) * (len(batch) - begins.ndim + 1))
        begins = jnp.broadcast_to(flags, (steps, *batch)).reshape(steps, size)
    if linear.product == "diagonal":
        width = math.prod(shape[len(batch) :])
        a, b, h = (x.reshape(*x.shape[: x.ndim - h.ndim], size, width) for x in (a, b, h))
    else:
        a, b, h = (
            a.reshape(steps, size, *a.shape[-2:]),
            b.reshape(steps, size, *b.shape[-2:]),
            h.reshape(size, *h.shape[-2:]),
        )
    hs, last = linear_scan(a, b, h, begins, product=linear.product, reverse=reverse)
    return hs.reshape(steps, *shape), last.reshape(shape)
