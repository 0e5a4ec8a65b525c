"""What modules of Flax and Equinox do with keys, views and bridges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx import bridge

import rnnjax
from rnnjax.interop import linen
from rnnjax.interop.nnx import Recurrent

T, B, D = 4, 3, 2
XS = np.random.default_rng(0).standard_normal((B, T, D))
RANDOM = rnnjax.zoneout(rnnjax.vanilla(2), h=0.5)
PARAMS = jax.tree.map(
    lambda leaf: np.random.default_rng(1).standard_normal(leaf.shape),
    jax.eval_shape(lambda: RANDOM.init(jax.random.key(0), D)),
)
VARIABLES = {"params": {"cell": PARAMS._asdict()}}


def equinox(*args, **options):
    pytest.importorskip("equinox")
    return rnnjax.interop.equinox.Recurrent(*args, time_major=False, **options)


def of_linen(cell, params, gradient=None):
    """A Linen module bound to its params, called as the others are."""
    return linen.Recurrent(cell, gradient=gradient).bind({"params": {"cell": params._asdict()}})


MAKERS = {
    "nnx": lambda cell, params, **options: Recurrent(cell, params=params, **options),
    "linen": of_linen,
    "equinox": lambda cell, params, **options: equinox(cell, params=params, **options),
}


def test_a_view_turns_dropout_off():
    off = rnnjax.unroll(RANDOM, PARAMS, XS.swapaxes(0, 1))[1].swapaxes(0, 1)
    model = Recurrent(RANDOM, params=PARAMS, rngs=nnx.Rngs(0))
    view = nnx.view(model, deterministic=True)
    np.testing.assert_array_equal(view(XS), off)
    assert np.any(model(XS) != off)
    assert np.any(nnx.view(view, deterministic=False)(XS) != off)
    assert "whether what is random is off" in nnx.view_info(model)


@pytest.mark.parametrize("name", MAKERS)
def test_episodes_that_begin_in_training_draw(name):
    """A carry that is random, and resets: the key is that of the episodes which begin there."""
    xs, resets = XS.swapaxes(0, 1), np.arange(T)[:, None] == np.full(B, 2)
    carry = RANDOM.initial_carry(PARAMS, (B,), jax.random.key(3))
    module = MAKERS[name](RANDOM, PARAMS)
    given = {"initial_carry": carry, "resets": resets.T}
    keys = {"nnx": "rngs", "linen": "init_key", "equinox": "key"}
    for key in map(jax.random.key, (4, 5)):
        want = rnnjax.unroll(RANDOM, PARAMS, xs, carry=carry, resets=resets, key=key)[1]
        got = module(XS, **given, **{keys[name]: key})
        np.testing.assert_array_equal(got, want.swapaxes(0, 1))
    plain = RANDOM.initial_carry(PARAMS, (B,))  # and one that is not turns dropout off
    want = rnnjax.unroll(RANDOM, PARAMS, xs, carry=plain, resets=resets)[1]
    with pytest.raises(ValueError, match=r"holds the randomness of training.* made without a key"):
        module(XS, **given)
    got = module(XS, initial_carry=plain, resets=resets.T, **{keys[name]: jax.random.key(4)})
    np.testing.assert_array_equal(got, want.swapaxes(0, 1))


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_that_draw_are_passed_at_the_call(name):
    cell = rnnjax.vanilla(2)

    def cost(params, key):
        return jnp.sum(MAKERS[name](cell, params)(XS, gradient=rnnjax.online.uoro(key)) ** 2)

    def plain(params, key):
        xs = XS.swapaxes(0, 1)
        return jnp.sum(rnnjax.unroll(cell, params, xs, gradient=rnnjax.online.uoro(key))[1] ** 2)

    found = []
    for key in map(jax.random.key, (0, 1)):
        got, want = (jax.grad(f)(PARAMS, key) for f in (cost, plain))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, want)
        found.append(got)
    assert np.any(found[0].w_h != found[1].w_h)
    if name != "linen":
        for make in (rnnjax.online.uoro, rnnjax.online.kf_rtrl):
            with pytest.raises(ValueError, match=r"draws by a key, .* same one at every call"):
                MAKERS[name](cell, PARAMS, gradient=make(jax.random.key(0)))


def test_flaxs_own_jit_takes_a_gradient_that_draws():
    import flax.linen as nn

    cell = rnnjax.vanilla(2)
    gradient = rnnjax.online.uoro(jax.random.key(0))
    got = nn.jit(linen.Recurrent)(cell).apply(VARIABLES, XS, gradient=gradient)
    want = rnnjax.unroll(cell, PARAMS, XS.swapaxes(0, 1))[1].swapaxes(0, 1)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_the_bridge_to_linen_carries_it():
    cell = rnnjax.vanilla(2)
    module = bridge.ToLinen(Recurrent, args=(cell, D))
    variables = module.init(jax.random.key(0), XS)
    assert set(variables["params"]) == {"weights"}
    variables = {"params": {"weights": PARAMS._asdict()}}
    want = rnnjax.unroll(cell, PARAMS, XS.swapaxes(0, 1))[1].swapaxes(0, 1)
    np.testing.assert_allclose(module.apply(variables, XS), want, rtol=1e-12)
