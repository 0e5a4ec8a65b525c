"""One output for a sequence: every pooling is the loop written out, over valid steps alone."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenario_nets import (
    CELLS,
    LENGTHS,
    RAGGED,
    B,
    D,
    H,
    K,
    T,
    V,
    assert_close,
    dense,
    embedding,
    head,
    log_softmax,
    noisy,
    outputs_by_loop,
    params_of,
    softmax,
    table,
    words,
)

import rnnjax
from rnnjax import scenarios

pytestmark = pytest.mark.usefixtures("eager")

POOLINGS = ("last", "mean", "sum", "max", "attention")


def attention_weights(params, ys):
    """softmax_t(vᵀ tanh(W y_t + b)) of one sequence."""
    return softmax(dense(params.score, np.tanh(dense(params.hidden, ys)))[:, 0])


def pooled(pooling, params, ys):
    if len(ys) == 0:
        return np.zeros(H)
    if pooling == "attention":
        return attention_weights(params, ys) @ ys
    if pooling == "last":
        return ys[-1]
    return {"mean": np.mean, "sum": np.sum, "max": np.max}[pooling](ys, axis=0)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["deep", "own"])
def test_is_the_loop(name, pooling):
    model = scenarios.many_to_one(CELLS[name], head(), pooling=pooling)
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    ragged = jax.jit(model.apply)(params, xs, lengths=LENGTHS)
    whole = jax.jit(model.apply)(params, xs)
    for b, n in enumerate(LENGTHS):
        for got, length in ((ragged[b], n), (whole[b], T)):
            _, ys = outputs_by_loop(name, params.layer, xs[:length, b])
            assert_close(got, dense(params.head, pooled(pooling, params.pooling, ys)))


@pytest.mark.parametrize("below", [(), (CELLS["own"],)])
def test_the_last_output_of_a_layer_has_read_everything(below):
    """Backwards it is the first in time; a bidirectional layer ends at both, half by half."""
    backwards = rnnjax.recurrent(rnnjax.gru(H), reverse=True)
    both = rnnjax.bidirectional(CELLS["own"], rnnjax.gru(3))
    xs, mask = noisy(1, (T, B, D)), jnp.array([[0, 1, 0]] + [[1, 1, 1]] * 3 + [[0, 0, 1]], bool)
    for top, forwards in ((backwards, 0), (both, H)):
        layer = rnnjax.serial(*below, top) if below else top
        model = scenarios.many_to_one(layer, head())
        params = params_of(model.init, xs)
        for lengths, skip in ((None, None), (RAGGED, None), (RAGGED, mask), (None, mask)):
            ys = layer.apply(params.layer, xs, lengths=lengths, mask=skip)[1]
            n = [T] * B if lengths is None else lengths
            read = np.arange(T)[:, None] < np.array(n)
            read = read if skip is None else read & np.asarray(skip)
            for b in range(B):
                t = np.flatnonzero(read[:, b])
                y = np.concatenate([ys[t[-1], b, :forwards], ys[t[0], b, forwards:]])
                got = model.apply(params, xs, lengths=lengths, mask=skip)[b]
                assert_close(got, dense(params.head, y))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_mask_leaves_steps_out_of_every_pooling(pooling):
    model = scenarios.many_to_one(CELLS["own"], head(), embed=head(D), pooling=pooling)
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    mask = jnp.array([[0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]], bool)
    lengths = np.array([T, 3, T])

    def outputs(params, xs, **options):
        return model.apply(params, xs, **options)

    def sums(params, xs):
        return jnp.sum(outputs(params, xs, mask=mask, lengths=lengths))

    got = outputs(params, xs, mask=mask, lengths=lengths)
    for b in range(2):
        t = np.flatnonzero(mask[: lengths[b], b])
        assert_close(got[b], outputs(params, xs[t, b : b + 1])[0])
        if pooling == "attention":
            weights = model.weights(params, xs, mask=mask, lengths=lengths)[:, b]
            assert_close(weights[t], model.weights(params, xs[t, b : b + 1])[:, 0])
            assert_close(weights.sum(), 1.0)
    assert_close(got[2], params.head["params"]["bias"])
    unseen = jnp.where(mask[..., None], xs, jnp.nan)
    grads = jax.grad(sums)(params, unseen)
    assert_close(grads, jax.grad(sums)(params, xs))


def test_attention_weights_are_those_of_the_pooling():
    model = scenarios.many_to_one(CELLS["lstm"], head(), pooling="attention")
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    weights = np.asarray(jax.jit(model.weights)(params, xs, lengths=LENGTHS))
    for b, n in enumerate(LENGTHS):
        _, ys = outputs_by_loop("lstm", params.layer, xs[:n, b])
        if n:
            assert_close(weights[:n, b], attention_weights(params.pooling, ys))
        assert not weights[n:, b].any()
    assert scenarios.many_to_one(CELLS["lstm"], head()).weights is None


def test_reads_words_with_both_directions():
    layer = rnnjax.bidirectional(CELLS["lstm"], CELLS["lstm"])
    model = scenarios.many_to_one(layer, head(), embed=embedding(), pooling="mean")
    ids = words(2, (T, B))
    params = params_of(model.init, ids)
    got = jax.jit(model.apply)(params, ids, lengths=RAGGED)
    for b, n in enumerate(RAGGED):
        xs = table(params.embed)[np.asarray(ids[:n, b])]
        _, forward = outputs_by_loop("lstm", params.layer[0], xs)
        _, backward = outputs_by_loop("lstm", params.layer[1], xs[::-1])
        ys = np.concatenate([forward, backward[::-1]], axis=-1)
        assert_close(got[b], dense(params.head, ys.mean(axis=0)))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_never_changes_loss_or_gradients(pooling):
    model = scenarios.many_to_one(CELLS["own"], head(), pooling=pooling)
    xs, labels = noisy(1, (T, B, D)), jnp.array([0, 1, 1])
    params = params_of(model.init, xs)

    def cost(params, xs, lengths, labels):
        return scenarios.cross_entropy(model.apply(params, xs, lengths=lengths), labels)

    of = jax.jit(jax.value_and_grad(cost, argnums=(0, 1)))
    padded = xs.at[2:, 1].set(jnp.nan).at[3:, 2].set(jnp.inf)
    value, (grads, xs_grad) = of(params, padded, RAGGED, labels)
    assert_close((value, (grads, xs_grad)), of(params, xs, RAGGED, labels))
    if pooling not in ("last", "attention"):
        return  # one compilation for each length costs more than the rest
    alone = [
        of(params, xs[:n, b : b + 1], RAGGED[b : b + 1], labels[b : b + 1])
        for b, n in enumerate(RAGGED)
    ]
    assert_close(value, sum(v for v, _ in alone) / B)
    assert_close(grads, jax.tree.map(lambda *g: sum(g) / B, *[g for _, (g, _) in alone]))
    for b, n in enumerate(RAGGED):
        assert_close(xs_grad[:n, b], alone[b][1][1][:, 0] / B)
        assert not np.asarray(xs_grad)[n:, b].any()


def test_garbage_ids_in_padding_are_never_looked_up():
    model = scenarios.many_to_one(CELLS["lstm"], head(), embed=embedding(), pooling="attention")
    ids = words(2, (T, B))
    params = params_of(model.init, ids)
    of = jax.jit(
        jax.value_and_grad(
            lambda params, ids: jnp.sum(model.apply(params, ids, lengths=RAGGED) ** 2)
        )
    )
    padded = ids.at[2:, 1].set(-7).at[3:, 2].set(10**6)
    assert_close(of(params, padded), of(params, ids))
    assert np.isfinite(of(params, padded)[0])


def test_nan_in_padding_never_reaches_the_gradients_of_an_embedding():
    model = scenarios.many_to_one(CELLS["own"], head(), embed=head(2))
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    of = jax.jit(
        jax.value_and_grad(lambda params, xs: jnp.sum(model.apply(params, xs, lengths=RAGGED)))
    )
    assert_close(of(params, xs.at[2:, 1].set(jnp.nan)), of(params, xs))


def test_empty_sequences_pool_to_zeros_with_finite_gradients():
    for pooling in POOLINGS:
        model = scenarios.many_to_one(CELLS["own"], head(), pooling=pooling)
        xs = noisy(1, (0, B, D))
        params = params_of(model.init, noisy(1, (T, B, D)))
        with jax.disable_jit(False):  # op by op, JAX does not scan over no steps
            got = model.apply(params, xs)
        assert_close(got, np.broadcast_to(params.head["params"]["bias"], (B, K)))


def test_options_of_unroll_pass_through():
    xs = noisy(1, (T, B, D))
    model = scenarios.many_to_one(CELLS["lstm"], head())
    params = params_of(model.init, xs)

    def gradient(**options):
        return jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, xs, **options))))(params)

    carry = jax.tree.map(jnp.ones_like, CELLS["lstm"].initial_carry(params.layer, (B,)))
    resets = jnp.zeros((T, B), bool).at[2].set(True)
    applied = jax.jit(lambda **options: model.apply(params, xs, **options))
    got = (applied(carry=carry), applied(resets=resets))
    for b in range(B):
        begin = jax.tree.map(lambda leaf, b=b: leaf[b], carry)
        _, ys = outputs_by_loop("lstm", params.layer, xs[:, b], begin)
        assert_close(got[0][b], dense(params.head, ys[-1]))
        _, ys = outputs_by_loop("lstm", params.layer, xs[2:, b])
        assert_close(got[1][b], dense(params.head, ys[-1]))
    clipped = rnnjax.bptt(clip=lambda delta: 0 * delta)
    assert not np.asarray(gradient(gradient=clipped).layer.w_x).any()
    assert_close(gradient(gradient=rnnjax.bptt()), gradient(gradient=rnnjax.autodiff()))


def test_key_turns_on_dropout_of_cell_and_head():
    identity = head(H)
    model = scenarios.many_to_one(CELLS["lstm"], scenarios.dropout(identity, 0.25))
    xs = noisy(1, (T, 400, D))
    params = params_of(model.init, xs)
    params = params._replace(head={"params": {"kernel": jnp.eye(H), "bias": jnp.zeros(H)}})
    apply = jax.jit(model.apply)
    kept = apply(params, xs)
    dropped = np.asarray(apply(params, xs, key=jax.random.key(1)))
    zero = dropped == 0
    assert_close(dropped[~zero], np.asarray(kept)[~zero] / 0.75)
    assert abs(zero.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / zero.size)
    assert (apply(params, xs, key=jax.random.key(2)) != dropped).any()

    random = scenarios.many_to_one(CELLS["random"], head())
    params = params_of(random.init, xs)
    apply = jax.jit(random.apply)
    one, other = (apply(params, xs, key=jax.random.key(seed)) for seed in (1, 2))
    assert_close(apply(params, xs, key=jax.random.key(1)), one)
    assert np.abs(one - other).max() > 1e-3
    for b in range(2):
        _, ys = outputs_by_loop("random", params.layer, xs[:, b])
        assert_close(apply(params, xs)[b], dense(params.head, ys[-1]))


def test_modules_ask_for_dropout_as_flax_does():
    class Head(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dropout(0.5, deterministic=not self.has_rng("dropout"))(x)
            return nn.Dense(K, param_dtype=float)(x)

    model = scenarios.many_to_one(CELLS["lstm"], Head())
    xs = noisy(1, (T, B, D))
    params = params_of(model.init, xs)
    evaluated = model.apply(params, xs)
    inner = scenarios.many_to_one(CELLS["lstm"], head())
    same = params._replace(head={"params": params.head["params"]["Dense_0"]})
    assert_close(evaluated, inner.apply(same, xs))
    assert np.abs(model.apply(params, xs, key=jax.random.key(0)) - evaluated).max() > 1e-3


def test_one_to_one_is_its_head():
    model = scenarios.one_to_one(head())
    x = noisy(3, (B, D))
    params = params_of(model.init, x)
    assert_close(jax.jit(model.apply)(params, x), dense(params, x))
    assert_close(log_softmax(model.apply(params, x)), log_softmax(dense(params, x)))


def test_init_draws_what_its_parts_draw():
    model = scenarios.many_to_one(CELLS["lstm"], head(), embed=embedding(), pooling="attention")
    ids = words(2, (T, B))
    params = jax.jit(model.init)(jax.random.key(0), ids)
    other = jax.jit(model.init)(jax.random.key(1), ids)
    assert params.layer.w_x.shape == (3, 4 * H)
    for a, b in zip(*map(jax.tree.leaves, (params, other)), strict=True):
        assert a.dtype == jnp.float64
        drawn = a.ndim > 1  # biases are constants
        assert bool((np.asarray(a) != np.asarray(b)).any()) == drawn


@pytest.mark.parametrize("pooling", ["last", "mean", "sum", "max"])
def test_several_feature_axes(eager, pooling):
    """A ConvLSTM's images are pooled as the vectors of their numbers are."""
    cell, lengths = rnnjax.conv_lstm(2, (2, 3)), [T, 2, 0]
    model = scenarios.many_to_one(cell, head(), pooling=pooling)
    xs = noisy(1, (T, B, 2, 3, 1))
    params = params_of(model.init, xs)
    _, ys = rnnjax.unroll(cell, params.layer, xs, lengths=lengths)
    flat = scenarios.pooled(pooling).apply(None, ys.reshape(T, B, -1), lengths)
    want = head().apply(params.head, flat.reshape(B, 2, 3, 2))
    assert_close(model.apply(params, xs.tolist(), lengths=lengths), want)


@pytest.mark.parametrize("make", ["recurrent", "serial", "bidirectional"])
def test_layers_of_several_feature_axes(make):
    cell, xs = rnnjax.conv_lstm(2, (2, 3)), noisy(1, (T, B, 2, 3, 1))
    layer = {
        "recurrent": rnnjax.recurrent(cell, reverse=True),
        "serial": rnnjax.serial(cell, rnnjax.conv_lstm(3, (2, 3))),
        "bidirectional": rnnjax.bidirectional(cell, cell),
    }[make]
    model = scenarios.many_to_one(layer, head())
    params = params_of(model.init, xs)
    _, ys = layer.apply(params.layer, xs)
    y = {
        "recurrent": ys[0],
        "serial": ys[-1],
        "bidirectional": jnp.concatenate([ys[-1][..., :2], ys[0][..., 2:]], axis=-1),
    }[make]
    assert_close(model.apply(params, xs), head().apply(params.head, y))
    with pytest.raises(ValueError, match="attention pooling scores vectors"):
        scenarios.many_to_one(layer, head(), pooling="attention")


def test_several_feature_axes_at_every_step_and_in_an_encoder(eager):
    cell, xs = rnnjax.conv_lstm(2, (2, 3)), noisy(1, (T, B, 2, 3, 1))
    model = scenarios.many_to_many(cell, head())
    params = params_of(model.init, xs)
    carry, outputs = model.apply(params, xs, key=jax.random.key(0))
    want_carry, ys = rnnjax.unroll(cell, params.layer, xs)
    assert_close((carry, outputs), (want_carry, head().apply(params.head, ys)))
    decoder = scenarios.encoder_decoder(cell, rnnjax.gru(H), head(V), embed=embedding())
    tokens = words(2, (T, B))
    assert decoder.apply(params_of(decoder.init, xs, tokens), xs, tokens).shape == (T, B, V)
