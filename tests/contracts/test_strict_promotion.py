"""With `jax_numpy_dtype_promotion="strict"` nothing of ours mixes dtypes."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from cells_table import ROWS, B, D, T
from problems import RAGGED, RESETS, draw

import rnnjax
from rnnjax import flow, scenarios
from rnnjax.cells import initializers
from rnnjax.experiments import tasks, training

KEY = jax.random.key(0)
LSTM = rnnjax.lstm(3)
WORDS = jnp.ones((T, B), int)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"):
        yield


def dtypes(tree):
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


def head():
    return nn.Dense(4, param_dtype=float)


def embedding():
    return nn.Embed(4, 2, param_dtype=float)


@pytest.mark.parametrize("name", ROWS)
def test_cells(name):
    cell, inputs = ROWS[name].cell, ROWS[name].inputs

    def gradient():
        params, xs = cell.init(KEY, inputs), draw(1, inputs, T, B)

        def cost(params):
            return jnp.sum(
                rnnjax.unroll(cell, params, xs, key=KEY, lengths=RAGGED, resets=RESETS)[1] ** 2
            )

        return jax.grad(cost)(params)

    assert set(dtypes(jax.eval_shape(gradient))) <= {jnp.dtype("float64"), jnp.dtype("complex128")}


@pytest.mark.parametrize("make", [initializers.orthogonal, initializers.singular_value])
def test_initializers(make):
    init = make(1.0)
    drawn = jax.eval_shape(lambda: init(KEY, (2, 2), jnp.dtype(jnp.bfloat16)))
    assert drawn.dtype == jnp.bfloat16


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_many_to_one(pooling):
    model = scenarios.many_to_one(LSTM, scenarios.dropout(head(), 0.5), pooling=pooling)

    def cost():
        xs = draw(1, D, T, B)
        logits = model.apply(model.init(KEY, xs), xs, lengths=RAGGED, key=KEY)
        return scenarios.cross_entropy(logits, WORDS[0], RAGGED > 0)

    assert jax.eval_shape(cost).dtype == float


@pytest.mark.parametrize("attention", ["dot", "additive"])
def test_decoders(attention):
    model = scenarios.encoder_decoder(
        LSTM, LSTM, head(), embed=embedding(), attention=attention, dropout=0.5
    )

    def run():
        source = draw(1, D, T, B)
        params = model.init(KEY, source, WORDS)
        options = {"source_lengths": RAGGED, "lengths": RAGGED, "key": KEY}
        logits = [
            model.apply(params, source, WORDS, sampling=sampling, **options)
            for sampling in (0.0, 0.5)
        ]
        step, state = partial(model.step, params), model.begin(params, source)
        found = scenarios.beam_search(step, state, WORDS[0], 2, end=0)
        sampled = scenarios.sample(step, state, WORDS[0], 2, KEY, end=0, top_p=0.5)
        return logits, found.log_probs, sampled.log_probs

    assert set(dtypes(jax.eval_shape(run))) == {jnp.dtype("float64")}


def test_an_encoder_that_is_the_mean_of_a_memory():
    model = scenarios.encoder_decoder(None, LSTM, head(), embed=embedding(), attention="dot")

    def run():
        memory = draw(1, D, T, B)
        params = model.init(KEY, memory, WORDS)
        return model.apply(params, memory, WORDS, source_lengths=RAGGED)

    assert jax.eval_shape(run).shape == (T, B, 4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_losses(dtype):
    logits, one = jnp.zeros((T, B, 4), dtype), jnp.ones(B, int)
    valid, wide = WORDS > 0, jnp.float64 if dtype == jnp.float64 else jnp.float32
    for cost in (
        lambda: scenarios.ctc(logits, one, WORDS[:1], one, zero_infinity=True),
        lambda: scenarios.cross_entropy(logits, WORDS, valid),
        lambda: scenarios.squared_error(logits, logits, valid),
    ):
        assert jax.eval_shape(cost).dtype == wide


def test_flow():
    def run():
        params, xs = LSTM.init(KEY, D), draw(1, D, T, B)
        recording = flow.record(LSTM, params, xs, lambda carry, ys: jnp.sum(ys**2))
        norms = flow.gradient_norms(recording.carry_ct)
        return flow.half_life(norms), flow.lyapunov_spectrum(LSTM, params, xs, 1)

    assert [found.shape for found in jax.eval_shape(run)] == [(B,), (B, 1)]


@pytest.mark.parametrize("compute_dtype", [None, "bfloat16"])
def test_training_steps(compute_dtype):
    for task in (tasks.parity(hidden=2), tasks.delayed_xor(hidden=2)):

        def run(task=task):
            optimizer = optax.adamw(1e-3)
            step = training.train_step(
                task.loss,
                optimizer,
                accumulate=2,
                average=0.9,
                skip_nonfinite=True,
                compute_dtype=compute_dtype,
            )
            state = training.start_training(task.init(KEY), optimizer, key=KEY, average=True)
            batch = task.batches(0)[0]
            return state, step(state, jax.tree.map(lambda x: jnp.stack([x, x]), batch))

        state, (new, metrics) = jax.eval_shape(run)
        assert dtypes(new) == dtypes(state)
        assert metrics.gradient_norm.dtype == float


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "gradient",
    [rnnjax.truncated(2), rnnjax.truncated_window(2), rnnjax.truncated_williams_peng(3, 2)],
    ids=str,
)
def test_truncated_gradients_of_lengths_in_32_bits(gradient, reverse):
    params, xs = LSTM.init(KEY, D), draw(1, D, T, B)
    lengths = jnp.asarray(RAGGED, jnp.int32)

    def cost(params):
        options = {"gradient": gradient, "lengths": lengths, "reverse": reverse}
        return jnp.sum(rnnjax.unroll(LSTM, params, xs, **options)[1] ** 2)

    assert set(dtypes(jax.eval_shape(jax.grad(cost), params))) == {jnp.dtype("float64")}
