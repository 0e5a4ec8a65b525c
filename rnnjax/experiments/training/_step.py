"""One training step, pure and jittable, over any loss and any optax optimiser."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax._checks import (
    check_callable,
    check_flag,
    check_positive_int,
    check_rate,
    described,
    is_inexact,
)
from rnnjax._dtypes import at_least_float32, promoted, standard_promotion
from rnnjax._random import check_key
from rnnjax._types import Array, Carry, Params, PyTree
from rnnjax.experiments.tasks import Batch, Loss
from rnnjax.experiments.training._returned import (
    check_same_form,
    check_stacked,
    check_terms,
    check_trainable,
    loss_returned,
)
from rnnjax.flow import features_norm

ALL_FINITE = -1  # Metrics.bad_leaf where nothing is wrong


class TrainState(NamedTuple):
    """Everything that one training step passes to the next."""

    params: Params
    opt_state: PyTree
    step: Array  # [] int32, steps taken, skipped ones included
    skipped: Array  # [] int32, steps whose update was skipped because it was not finite
    carry: Carry = None  # recurrent state passed from one batch to the next
    key: Array | None = None  # PRNG key that each step folds its number into; None: no dropout
    average: Params | None = None  # exponential moving average of params; None: not kept


class Metrics(NamedTuple):
    """What one training step measures."""

    cost: Array  # [] before the update
    gradient_norm: Array  # [] global norm, before clipping
    bad_leaf: Array  # [] int32: ALL_FINITE, or the first gradient leaf that is not; see train_step
    task: dict[str, Array]  # further metrics returned by the loss, by name


TrainStep = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def start_training(
    params: Params,
    optimizer: optax.GradientTransformation,
    *,
    carry: Carry = None,
    key: Array | None = None,
    average: bool = False,
) -> TrainState:
    """The state before the first step.

    Args:
      params: the weights.
      optimizer: the one passed to `train_step`.
      carry: before the first batch, for tasks that pass a carry from batch to batch.
      key: turns dropout on.
      average: whether to keep an exponential moving average of the params.
    """
    check_optimizer(optimizer)
    check_flag("average", average)
    if key is not None:
        check_key(key)
    check_trainable(params)
    zero = jnp.zeros((), jnp.int32)
    copy = jax.tree.map(jnp.array, params) if average else None
    return TrainState(params, optimizer.init(params), zero, zero + 0, carry, key, copy)


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    terms: Callable[[Batch], Array] | None = None,
    compute_dtype: Any = None,
    average: float = 0.0,
    skip_nonfinite: bool = False,
) -> TrainStep:
    """Make a training step `(state, batch) -> (state, metrics)`: differentiate, clip, update.

        g = ∂/∂θ Σ_a n_a C(θ; batch_a) / Σ_a n_a;        θ ← θ + optimizer(g)
        θ̄ ← θ̄ + (1 - d)/(1 - d^n) (θ - θ̄)        after n updates: Σ_i d^{n-i} θ_i, normalised

    The gradient stops at the carry from the previous batch. Metrics.bad_leaf is an index into
    `jax.tree.leaves` of the gradient; the number of leaves means that only the cost is not finite.

    Args:
      loss: `(params, carry, batch, key) -> (cost, (carry, metrics))`, as `Task.loss`.
      optimizer: any optax transformation, including clipping. One that takes `value`, as
        `optax.contrib.reduce_on_plateau`, is passed the cost.
      accumulate: A, the number of batches whose gradients are averaged, computed one after the
        other. Above 1, every leaf of `batch` has a leading axis of that size.
      terms: `batch -> n`, the number of terms that the cost of a batch is a mean over, such as its
        valid steps; with it g is the gradient of one large batch, and metrics are weighed as the
        cost. None: n = 1, for batches with equally many.
      compute_dtype: the dtype that params are cast to inside the loss, such as "bfloat16"; params,
        gradients, and the carry between steps keep their own dtypes.
      average: d, the decay of the exponential moving average; 0 for none.
      skip_nonfinite: skip and count an update whose cost or gradient is not finite. Otherwise NaN
        and Inf reach the params, and Metrics.bad_leaf reports them.

    Returns:
      A pure function for `jit`, `vmap` over seeds and `lax.scan` over batches.

    Raises:
      TypeError: a loss that is no function, an optimizer that is not optax's, a flag that is no
        bool, or accumulate that is no integer; when traced, a loss that returns something else.
      ValueError: accumulate below 1, or average outside [0, 1); when traced, a cost or metric that
        is no scalar.
    """
    check_callable("loss", loss, "(params, carry, batch, key) -> (cost, (carry, metrics))")
    check_optimizer(optimizer)
    if compute_dtype is not None and not jnp.issubdtype(compute_dtype, jnp.floating):
        raise TypeError(f"compute_dtype must be a floating dtype, got {compute_dtype!r}")
    check_positive_int("accumulate", accumulate)
    check_rate("average", average)
    check_flag("skip_nonfinite", skip_nonfinite)
    update = optax.with_extra_args_support(optimizer).update
    gradients = _accumulated(_in_dtype(loss, compute_dtype), accumulate, terms)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = None if state.key is None else jax.random.fold_in(state.key, state.step)
        value, extra, carry, grads = gradients(state.params, state.carry, batch, key)
        metrics = Metrics(value, global_norm(grads), _first_bad_leaf(value, grads), extra)
        with standard_promotion():
            updates, opt_state = update(grads, state.opt_state, state.params, value=value)
        params = optax.apply_updates(state.params, updates)
        new = state._replace(params=params, opt_state=opt_state, carry=carry)
        if average:
            count = state.step + 1 - state.skipped
            new = new._replace(average=_averaged(state.average, params, average, count))
        if skip_nonfinite:
            keep = metrics.bad_leaf == ALL_FINITE
            new = jax.tree.map(lambda new, old: jnp.where(keep, new, old), new, state)
            new = new._replace(skipped=state.skipped + jnp.where(keep, 0, 1))
        return new._replace(step=state.step + 1), metrics

    return step


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless it is an optimizer of optax."""
    if not isinstance(optimizer, optax.GradientTransformation):
        named = isinstance(optimizer, str)
        hint = f": Settings(optimizer={optimizer!r}) names one for `fit`" if named else ""
        raise TypeError(
            "optimizer must be one of optax's, such as optax.adam(1e-3), got "
            f"{described(optimizer)}{hint}"
        )


def global_norm(tree: PyTree) -> Array:
    """Compute the Euclidean norm over all leaves together, without overflow.

    Args:
      tree: arrays.

    Returns:
      A scalar, at least float32.
    """
    return features_norm(jax.tree.leaves(tree), 0)


def slow_in_loops(jaxpr: Any) -> bool:
    """Whether XLA runs this much slower inside a loop, as it does convolutions on the CPU."""
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(jaxpr)


def leaf_path(params: Params, bad_leaf: int) -> str | None:
    """The path of the leaf that Metrics.bad_leaf refers to; None if it is only the cost."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    return jax.tree_util.keystr(paths[bad_leaf]) if bad_leaf < len(paths) else None


def _in_dtype(loss: Loss, dtype: Any) -> Loss:
    def checked(
        params: Params, carry: Carry, batch: Batch, key: Array | None
    ) -> tuple[Array, tuple[Carry, dict[str, Array]]]:
        return loss_returned(loss(params, carry, batch, key))

    if dtype is None:
        return checked

    def cast(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x.astype(dtype) if is_inexact(x) else x, tree)

    def cast_loss(
        params: Params, carry: Carry, batch: Batch, key: Array | None
    ) -> tuple[Array, tuple[Carry, dict[str, Array]]]:
        cost, (new, extra) = checked(cast(params), cast(carry), batch, key)
        check_same_form(new, carry, dtypes=False)
        new = jax.tree.map(lambda x, old: x.astype(old.dtype) if is_inexact(x) else x, new, carry)
        return cost, (new, extra)

    return cast_loss


def _accumulated(
    loss: Loss, count: int, terms: Callable[[Batch], Array] | None
) -> Callable[..., tuple[Array, dict, Carry, PyTree]]:
    """`(params, carry, batch, key) -> (cost, metrics, carry, grads)`, means over the batches."""
    differentiated = jax.value_and_grad(loss, has_aux=True)

    def one(
        params: Params, carry: Carry, batch: Batch, key: Array | None
    ) -> tuple[Array, dict, Carry, PyTree]:
        (value, (carry, extra)), grads = differentiated(params, carry, batch, key)
        value, extra = jax.tree.map(lambda x: jnp.asarray(x, at_least_float32(x)), (value, extra))
        return value, extra, carry, grads

    def mean(
        params: Params, carry: Carry, batches: Batch, key: Array | None
    ) -> tuple[Array, dict, Carry, PyTree]:
        check_stacked(batches, count)
        keys = None if key is None else jax.random.split(key, count)
        weights = jnp.ones(count) if terms is None else jax.vmap(terms)(batches)
        total = jnp.sum(check_terms(weights))
        weights = weights / jnp.where(total > 0, total, jnp.ones_like(total))

        def body(state: tuple, inputs: tuple) -> tuple[tuple, None]:
            carry, sums = state
            weight, batch, key = inputs
            value, extra, carry, grads = one(params, carry, batch, key)
            add = partial(_added, weight)
            return (carry, jax.tree.map(add, sums, (value, extra, grads))), None

        inputs = (weights, batches, keys)
        first = jax.tree.map(lambda x: x[0], inputs)
        jaxpr, shapes = jax.make_jaxpr(one, return_shape=True)(params, carry, *first[1:])
        value, extra, new, grads = shapes
        check_same_form(new, carry)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, at_least_float32(x)), (value, extra, grads)
        )
        unroll = count if slow_in_loops(jaxpr) else 1
        (carry, sums), _ = jax.lax.scan(body, (carry, zeros), inputs, unroll=unroll)
        value, extra, grads = sums
        return value, extra, carry, jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)

    return one if count == 1 else mean


def _added(weight: Array, total: Array, x: Array) -> Array:
    return total + weight.astype(total.dtype) * x.astype(total.dtype)


def _first_bad_leaf(value: Array, grads: PyTree) -> Array:
    leaves = jax.tree.leaves(grads)
    bad = jnp.stack([~jnp.all(jnp.isfinite(x)) for x in (*leaves, value)])
    return jnp.where(jnp.any(bad), jnp.argmax(bad), ALL_FINITE).astype(jnp.int32)


def _averaged(average: Params, params: Params, decay: float, count: Array) -> Params:
    count = count.astype(jnp.result_type(float))
    rate = -math.expm1(math.log(decay)) / -jnp.expm1(count * math.log(decay))

    def moved(old: Array, new: Array) -> Array:
        dtype = promoted(rate, old)
        return old + (rate.astype(dtype) * (new - old).astype(dtype)).astype(old.dtype)

    return jax.tree.map(moved, average, params)
