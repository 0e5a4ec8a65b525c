"""The pattern of SnAp-n, where integers, booleans and keys decide what a step reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import online

T, H = 8, 3
RNG = np.random.default_rng(0)
XS = jnp.asarray(RNG.normal(size=(T, H)))
IDS = 3 * jnp.arange(T)[:, None] % 4
KEY = jax.random.key(3)


@jax.custom_vjp
def by_parity(k, a, b):
    return jnp.where(k % 2 == 0, a, b)


by_parity.defvjp(
    lambda k, a, b: (by_parity(k, a, b), k),
    lambda k, ct: (None, jnp.where(k % 2 == 0, ct, 0), jnp.where(k % 2 == 0, 0, ct)),
)


def one_of(k, a, b):
    return jax.lax.cond(k[0] % 3 == 1, lambda: a, lambda: b)


def written(k, a, b):
    return jax.lax.dynamic_update_slice(a, b[:1], (k[0] - 1,))


def counted(k, a, b):
    def body(carry, t):
        return jnp.where(t == k, carry + b, carry), None

    return jax.lax.scan(body, a, jnp.arange(4))[0]


def turns(k, a, b):
    return jax.lax.fori_loop(0, 3, lambda t, c: jnp.where(t < k, b, c), a)


# Of an integer k [1] and of a, b [H], each made of weights of its own.
CHOICES = {
    "where": lambda k, a, b: jnp.where(k > 2, a, b),
    "switch": one_of,
    "index": lambda k, a, b: jnp.stack([a, b])[k[0] % 2],
    "slice": lambda k, a, b: jax.lax.dynamic_slice(jnp.concatenate([a, b]), (k[0],), (H,)),
    "at": lambda k, a, b: a.at[k[0] % 3].set(b[0]),
    "added": lambda k, a, b: jnp.zeros(H).at[(k[0] + 1) % 3].add(a[0] + b[0]),
    "written": written,
    "one hot": lambda k, a, b: jax.nn.one_hot(k[0] % 2, 2) @ jnp.stack([a, b]),
    "from a time on": lambda k, a, b: jax.nn.relu(k - 2.0) * a + jnp.maximum(0.0, 2.0 - k) * b,
    "clipped": lambda k, a, b: jnp.clip(k - 2.0, 0.0, 1.0) * a + b,
    "rule": lambda k, a, b: by_parity(k, a, b),
    "scan": counted,
    "loop": turns,
    "power": lambda k, a, b: jnp.sin(b) + (a**2) ** (k - 1),
    "largest": lambda k, a, b: jnp.sort(a + k)[::-1] + jax.lax.top_k(b * k, 1)[0],
}


def made(choice):
    def init(key, inputs):
        keys = jax.random.split(key, 4)
        return dict(zip("abvw", (0.5 * jax.random.normal(k, (H, H)) for k in keys), strict=True))

    def step(params, carry, x_t):
        x_t, k = x_t
        a = jnp.tanh(x_t @ params["a"] + carry @ params["v"])
        b = jnp.cos(x_t @ params["b"] + carry @ params["w"])
        new = jnp.tanh(choice(k, a, b))
        return new, new

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, H))

    return rnnjax.Cell(init, initial_carry, step)


def gradient(cell, params, xs, gradient, **options):
    def cost(params):
        return jnp.sum(jnp.sin(rnnjax.unroll(cell, params, xs, gradient=gradient, **options)[1]))

    return jax.grad(cost)(params)


def close(got, want):
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_whatever_an_integer_may_choose_is_reached(choice):
    cell = made(choice)
    params = cell.init(KEY, H)
    want = gradient(cell, params, (XS, IDS), online.rtrl())
    assert all(np.abs(leaf).max() > 1e-6 for leaf in want.values())
    close(gradient(cell, params, (XS, IDS), online.snap(3 * H)), want)


def test_whatever_a_key_or_a_clock_may_choose_is_reached():
    noisy = rnnjax.zoneout(rnnjax.vanilla(20), h=0.9)
    params = noisy.init(KEY, H)
    want = gradient(noisy, params, XS, online.rtrl(), key=KEY)
    close(gradient(noisy, params, XS, online.snap(2), key=KEY), want)

    def step(params, carry, x_t):  # a module for each period
        h, t = carry
        new = jnp.tanh(x_t @ params["a"] + h @ params["w"])
        h = jnp.where(t % jnp.array([1, 2, 4]) == 0, new, h)
        return (h, t + 1), h

    clock = made(CHOICES["where"])._replace(step=step)
    clock = clock._replace(
        initial_carry=lambda params, shape=(): (jnp.zeros((*shape, H)), jnp.ones((*shape, 1), int))
    )
    params = clock.init(KEY, H)
    close(gradient(clock, params, XS, online.snap(H)), gradient(clock, params, XS, online.rtrl()))


def test_an_embedding_in_the_step_reaches_its_own_units_alone():
    def step(params, carry, x_t):
        new = jnp.tanh(params["e"][x_t[0]] + carry * params["u"])
        return new, new

    def init(key, inputs):
        return {"e": jax.random.normal(key, (4, H)), "u": jnp.full(H, 0.5)}

    cell = rnnjax.Cell(init, lambda params, shape=(): jnp.zeros((*shape, H)), step)
    params = cell.init(KEY, 1)
    learn = online.learner(cell, online.snap(1))
    influence = learn.init(params, IDS[0]).influence
    sizes = [leaf.size for leaf in jax.tree.leaves(influence)]
    assert sum(sizes) == 2 * (4 * H + H)  # a unit's carry and its output, for each weight
    want = gradient(cell, params, IDS, online.rtrl())
    close(gradient(cell, params, IDS, online.snap(1)), want)
    assert np.all(np.abs(want["e"]).max(1)[np.unique(IDS)] > 0)


def along_the_stream(cell, params, algorithm):
    learn, total = online.learner(cell, algorithm), None
    state = learn.init(params, XS[0])
    for x_t in XS[:4]:
        state, y_t = learn.step(params, state, x_t)
        part = learn.gradient(state, jnp.cos(y_t))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    return total


@pytest.mark.usefixtures("eager")
def test_a_unit_has_all_its_states_whatever_the_cell_is_wrapped_in():
    """The output gate reaches h alone in one step, and c of its unit is kept too."""
    cell = rnnjax.lstm(H)
    params = jax.tree.map(lambda w: w + 0.2 * RNG.normal(size=w.shape), cell.init(KEY, H))
    want = along_the_stream(cell, params, online.snap(1))
    learned = rnnjax.learned_carry(cell)
    begin = learned.init(KEY, H)._replace(cell=params)
    close(along_the_stream(learned, begin, online.snap(1)).cell, want)
    close(along_the_stream(rnnjax.stack(cell), (params,), online.snap(1)), (want,))
    close(along_the_stream(rnnjax.wrap(cell, lambda step: step), params, online.snap(1)), want)


@pytest.mark.usefixtures("eager")
def test_a_carry_that_is_always_of_a_batch():
    inner = rnnjax.vanilla(H)

    def initial_carry(params, batch_shape=()):
        return type(inner.initial_carry(params))(jnp.zeros((batch_shape[0], H)))

    cell = rnnjax.Cell(inner.init, initial_carry, inner.step)
    params, xs = cell.init(KEY, H), XS[:3, None]
    want = gradient(cell, params, xs, rnnjax.autodiff())
    close(gradient(cell, params, xs, online.snap(2)), want)


@pytest.mark.usefixtures("eager")
def test_what_a_first_carry_is_made_of_reaches_it():
    cell = rnnjax.learned_carry(rnnjax.zoneout(rnnjax.vanilla(H), h=0.5))
    params = jax.tree.map(lambda leaf: leaf + 0.3, cell.init(KEY, H))
    want = along_the_stream(cell, params, online.rtrl())
    assert np.abs(want.carry.cell.h).min() > 1e-3
    close(along_the_stream(cell, params, online.snap(2)), want)  # dense: it reaches everything
    one = along_the_stream(cell, params, online.snap(1)).carry.cell.h
    assert np.all(one != 0)
    assert not np.allclose(one, want.carry.cell.h)
