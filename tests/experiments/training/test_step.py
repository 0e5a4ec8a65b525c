import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import TinyBatch, batch_of, tiny_task

import rnnjax
from rnnjax import scenarios
from rnnjax.experiments import tasks
from rnnjax.experiments.training import (
    Settings,
    TrainState,
    fit,
    global_norm,
    start_training,
    train_step,
)
from rnnjax.experiments.training._step import ALL_FINITE, leaf_path, slow_in_loops

T, B, D, H, K = 6, 5, 2, 4, 3
NET = scenarios.many_to_one(rnnjax.gru(H), nn.Dense(K, param_dtype=float))
XS = jnp.asarray(np.random.default_rng(0).normal(size=(T, B, D)))
LABELS = jnp.array([0, 2, 1, 1, 0])


def cost(params, batch):
    xs, labels = batch
    return scenarios.cross_entropy(NET.apply(params, xs), labels)


def loss(params, carry, batch, key):
    return cost(params, batch), (carry, {})


def squares(params, carry, batch, key):
    """Σ w² batch: gradient 2 w batch, easy to follow by hand."""
    return jnp.sum(params["w"] ** 2) * batch, (carry, {"twice": 2 * batch})


def one_weight(value, **options):
    return start_training({"w": jnp.array([value])}, optax.sgd(0.1), **options)


@pytest.mark.usefixtures("eager")
def test_one_step_is_clipped_gradient_descent():
    params = NET.init(jax.random.key(0), XS)
    limit, rate = 0.1, 0.5
    optimizer = optax.chain(optax.clip_by_global_norm(limit), optax.sgd(rate))
    state = start_training(params, optimizer)
    new, metrics = jax.jit(train_step(loss, optimizer))(state, (XS, LABELS))
    value, grads = jax.value_and_grad(cost)(params, (XS, LABELS))
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    assert norm > limit
    np.testing.assert_allclose(metrics.cost, value, rtol=1e-12)
    np.testing.assert_allclose(metrics.gradient_norm, norm, rtol=1e-12)
    assert int(metrics.bad_leaf) == ALL_FINITE
    for after, before, grad in zip(*map(jax.tree.leaves, (new.params, params, grads)), strict=True):
        np.testing.assert_allclose(after, before - rate * limit / norm * grad, rtol=1e-10)
    assert int(new.step) == 1


def test_cost_falls_on_a_fixed_batch():
    optimizer = optax.adam(0.05)
    state = start_training(NET.init(jax.random.key(1), XS), optimizer)
    step = train_step(loss, optimizer)
    batch = (XS, LABELS)

    def body(state, _):
        new, metrics = step(state, batch)
        return new, metrics.cost

    _, costs = jax.lax.scan(body, state, None, length=60)
    assert float(costs[-1]) < 0.1 * float(costs[0])


@pytest.mark.usefixtures("eager")
def test_accumulation_equals_the_large_batch():
    task = tiny_task()
    params = jax.tree.map(lambda x: x.astype(jnp.float64), task.init(jax.random.key(0)))
    optimizer = optax.adam(0.1)
    rows = np.arange(12).reshape(3, 4)
    small = jax.tree.map(lambda *x: jnp.stack(x), *(batch_of(part) for part in rows))
    small, large = (
        jax.tree.map(lambda x: x.astype(jnp.float64), batch)
        for batch in (small, jax.tree.map(jnp.asarray, batch_of(rows.ravel())))
    )
    three, metrics = train_step(task.loss, optimizer, accumulate=3)(
        start_training(params, optimizer), small
    )
    one, expected = train_step(task.loss, optimizer)(start_training(params, optimizer), large)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), metrics, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7), three.params, one.params)
    assert int(three.step) == 1
    assert not np.allclose(one.params.out, params.out)


def ragged(seed, lengths, form):
    """A batch of sequences in this form, of these lengths, whose valid steps have targets."""
    random, lengths = np.random.default_rng(seed), jnp.array(lengths)
    shapes = [(T, len(lengths), *leaf.shape[2:]) for leaf in (form.xs, form.targets)]
    targets = jnp.asarray(random.integers(0, 2, shapes[1]), form.targets.dtype)
    xs = jnp.asarray(random.normal(size=shapes[0]))
    return tasks.Sequences(xs, targets, lengths, scenarios.valid_steps(lengths, T))


@pytest.mark.parametrize("make", [tasks.parity, tasks.counting])
def test_accumulation_over_ragged_batches_equals_the_large_batch(eager, make):
    """The cost is a mean over valid steps, and every valid step counts as much as any other."""
    task = make(hidden=2)
    form = jax.eval_shape(lambda: task.batches(0)[0])
    parts, all_lengths = [ragged(1, [T, 3], form), ragged(2, [1, 2], form)], [T, 3, 1, 2]
    large = ragged(0, all_lengths, form)._replace(
        xs=jnp.concatenate([part.xs for part in parts], axis=1),
        targets=jnp.concatenate([part.targets for part in parts], axis=1),
    )
    assert [int(task.terms(batch)) for batch in (*parts, large)] == [T + 3, 3, T + 6]
    random, optimizer = np.random.default_rng(0), optax.sgd(1.0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    state = start_training(
        jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), shapes), optimizer
    )
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *parts)
    step = train_step(task.loss, optimizer, accumulate=2, terms=task.terms)
    two, metrics = step(state, stacked)
    one, expected = train_step(task.loss, optimizer)(state, large)
    np.testing.assert_allclose(metrics.cost, expected.cost, rtol=1e-13)
    for a, b in zip(jax.tree.leaves(two.params), jax.tree.leaves(one.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_fit_weighs_accumulated_batches_by_their_terms():
    batches = [(jnp.array(w), jnp.array(n)) for w, n in ((1.0, 1), (4.0, 3))]

    def loss(params, carry, batch, key):
        return params["w"] * batch[0], (carry, {})

    task = tiny_task()._replace(
        init=lambda key: {"w": jnp.zeros(())},
        loss=loss,
        batches=lambda seed: batches,
        evaluate=lambda params: {"error": float(params["w"])},
        metric=tasks.Metric("error", "min"),
        terms=lambda batch: batch[1],
    )
    settings = Settings(1, 1.0, "constant", 0.0, "sgd", accumulate=2, clip_norm=np.inf)
    result = fit(task, settings, quiet=True)
    np.testing.assert_allclose(result.params["w"], -(1 * 1.0 + 3 * 4.0) / 4)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("unit", [1e-3, 1.0, 50.0])
def test_only_the_ratio_of_terms_counts(unit):
    """Terms may be weights that sum to less than 1, and a step without any does not move."""
    step = train_step(squares, optax.sgd(0.1), accumulate=2, terms=lambda batch: unit * batch)
    new, metrics = step(one_weight(1.0), jnp.array([1.0, 3.0]))
    mean = (1 * 1 + 3 * 3) / 4
    np.testing.assert_allclose(metrics.cost, mean)
    np.testing.assert_allclose(new.params["w"], [1 - 0.1 * 2 * mean])
    still, _ = step(one_weight(1.0), jnp.zeros(2))
    np.testing.assert_array_equal(still.params["w"], [1.0])


def test_batches_to_accumulate_are_stacked():
    step = train_step(loss, optax.sgd(0.1), accumulate=2)
    state = start_training(NET.init(jax.random.key(0), XS), optax.sgd(0.1))
    with pytest.raises(
        ValueError, match=r"accumulate = 2 batches .* got float\d+\[6, 5, 2\]: .*jnp\.stack"
    ):
        step(state, (XS, LABELS))


def test_accumulation_passes_the_carry_and_sums_bfloat16_in_float32():
    def counting(params, carry, batch, key):
        return jnp.sum(params * batch), (carry + batch, {"carry": carry})

    params = jnp.ones((), jnp.bfloat16)
    optimizer = optax.sgd(1.0)
    state = start_training(params, optimizer, carry=jnp.zeros(()))
    batches = jnp.array([256.0, *[1.0] * 7])  # bfloat16 loses a 1 beside a 256
    new, metrics = train_step(counting, optimizer, accumulate=8)(state, batches)
    assert float(new.carry) == 263
    np.testing.assert_allclose(metrics.task["carry"], (7 * 256 + 21) / 8)
    assert float(metrics.gradient_norm) == float(jnp.asarray(263 / 8, jnp.bfloat16))
    assert new.params.dtype == jnp.bfloat16


def test_convolutions_are_kept_out_of_loops():
    def convolving(params, carry, batch, key):
        ys = jax.lax.conv(batch, params, (1, 1), "SAME")
        return jnp.mean(ys**2), (carry, {})

    def in_a_loop(loss, params, batches):
        optimizer = optax.sgd(0.1)
        step = jax.jit(train_step(loss, optimizer, accumulate=2))
        traced = step.trace(start_training(params, optimizer), batches)
        return slow_in_loops(traced.jaxpr), "stablehlo.while" in traced.lower().as_text()

    weights = jnp.ones((1, 1, 3, 3))
    assert in_a_loop(convolving, weights, jnp.ones((2, 1, 1, 4, 4))) == (True, False)
    assert in_a_loop(squares, {"w": weights}, jnp.ones(2)) == (False, True)


def test_bfloat16_is_close_to_float32_and_keeps_the_dtype_of_params():
    task = tiny_task(stateful=True)
    optimizer = optax.adam(0.01)
    batch = jax.tree.map(jnp.asarray, batch_of(np.arange(4)))
    carry = jax.tree.map(lambda x: x.astype(jnp.float32), task.initial_carry())
    start = start_training(task.init(jax.random.key(0)), optimizer, carry=carry)
    runs = {}
    for dtype in (None, "bfloat16"):
        state, costs = start, []
        step = jax.jit(train_step(task.loss, optimizer, compute_dtype=dtype))
        for _ in range(20):
            state, metrics = step(state, batch)
            costs.append(float(metrics.cost))
        for before, after in zip(jax.tree.leaves(start), jax.tree.leaves(state), strict=True):
            assert before.dtype == after.dtype
        runs[dtype] = np.array(costs)
    np.testing.assert_allclose(runs["bfloat16"], runs[None], rtol=0.05)
    assert not np.array_equal(runs["bfloat16"], runs[None])
    assert runs["bfloat16"][-1] < runs["bfloat16"][0]


@pytest.mark.usefixtures("eager")
def test_average_is_the_normalized_exponential_moving_average():
    decay = 0.7
    state = one_weight(1.0, average=True)
    step = train_step(squares, optax.sgd(0.1), average=decay)
    seen = []
    for batch in (1.0, -2.0, 0.5, 3.0):
        state, _ = step(state, jnp.asarray(batch))
        seen.append(float(state.params["w"][0]))
        weights = decay ** np.arange(len(seen))[::-1]
        np.testing.assert_allclose(
            state.average["w"], [np.dot(weights, seen) / weights.sum()], rtol=1e-12
        )


def test_nonfinite_updates_are_skipped_and_counted():
    state = one_weight(2.0, average=True, carry=jnp.zeros(()))
    step = train_step(squares, optax.sgd(0.1), average=0.5, skip_nonfinite=True)
    good, _ = step(state, jnp.asarray(1.0))
    bad, metrics = step(good, jnp.asarray(jnp.nan))
    assert int(metrics.bad_leaf) == 0
    assert (int(bad.step), int(bad.skipped)) == (2, 1)
    unchanged = bad._replace(step=good.step, skipped=good.skipped)
    jax.tree.map(np.testing.assert_array_equal, unchanged, good)
    after, _ = step(bad, jnp.asarray(1.0))
    np.testing.assert_allclose(after.params["w"], [2 * 0.8**2])
    np.testing.assert_allclose(after.average["w"], [(0.5 * 1.6 + 1.28) / 1.5])


@pytest.mark.usefixtures("eager")
def test_the_first_bad_leaf_is_named():
    def picky(params, carry, batch, key):
        return jnp.sum(params["a"]) + jnp.sum(params["b"][0] * batch), (carry, {})

    params = {"a": jnp.ones(2), "b": (jnp.ones(2),)}
    optimizer = optax.sgd(0.1)
    step = train_step(picky, optimizer)
    state = start_training(params, optimizer)
    _, metrics = step(state, jnp.array([1.0, jnp.inf]))
    assert leaf_path(params, int(metrics.bad_leaf)) == "['b'][0]"
    assert float(metrics.gradient_norm) == np.inf

    def cost_alone(params, carry, batch, key):
        return jnp.sum(params["a"]) + batch, (carry, {})

    _, metrics = train_step(cost_alone, optimizer)(state, jnp.asarray(jnp.nan))
    assert int(metrics.bad_leaf) == 2
    assert leaf_path(params, 2) is None


def test_each_step_has_its_own_key_derived_from_the_state():
    def noisy(params, carry, batch, key):
        return jnp.sum(params["w"]) * jax.random.uniform(key), (carry, {})

    step = train_step(noisy, optax.sgd(0.1))
    key = jax.random.key(5)
    state = one_weight(1.0, key=key)
    for n in range(3):
        drawn = float(jax.random.uniform(jax.random.fold_in(key, n)))
        new, _ = step(state, None)
        np.testing.assert_allclose(state.params["w"] - new.params["w"], [0.1 * drawn], rtol=1e-6)
        state = new


def test_no_gradient_crosses_between_batches():
    def chained(params, carry, batch, key):
        new = carry * params["w"][0] + batch
        return new, (new, {})

    step = train_step(chained, optax.sgd(1.0))
    state = one_weight(3.0, carry=jnp.asarray(2.0))
    state, _ = step(state, jnp.asarray(1.0))  # w 3 - 2 = 1, carry 7
    assert float(state.carry) == 7
    state, _ = step(state, jnp.asarray(1.0))  # ∂(7 w + 1)/∂w = 7, not more
    np.testing.assert_allclose(state.params["w"], [1.0 - 7.0])


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_global_norm_neither_overflows_nor_underflows(scale):
    tree = {"a": jnp.array([3.0 * scale], jnp.float32), "b": jnp.array([4.0 * scale], jnp.float32)}
    np.testing.assert_allclose(global_norm(tree), 5 * scale, rtol=1e-6)


def test_state_and_batch_are_plain_trees():
    state = one_weight(1.0)
    assert isinstance(state, TrainState)
    assert len(jax.tree.leaves(state)) == 3
    assert len(jax.tree.leaves(TinyBatch(1, 2))) == 2
