"""The carry of every step, a carry for every example, and one step that may begin an episode."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import autodiff, bptt, checkpointed, sequential, step_with_reset, truncated, unroll

pytestmark = pytest.mark.usefixtures("eager")
T, B, D, H = 5, 3, 2, 3
RNG = np.random.default_rng(0)
XS = jnp.asarray(RNG.standard_normal((T, B, D)))
LENGTHS = jnp.array([T, 2, 0])
RESETS = jnp.asarray(np.arange(T)[:, None] == np.array([2, 0, 4]))
CELLS = {
    "lstm": rnnjax.lstm(H),
    "stack": rnnjax.stack(rnnjax.gru(H), rnnjax.lru(2)),
    "random": rnnjax.zoneout(rnnjax.lstm(H), h=0.3, c=0.3),
}
FLAGS = {
    "plain": {},
    "ragged": {"lengths": LENGTHS},
    "resets": {"resets": RESETS},
    "all": {"lengths": LENGTHS, "resets": RESETS, "reverse": True},
}


def assert_close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)


def set_up(name):
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), D)
    return cell, params, {"key": jax.random.key(1)} if name == "random" else {}


@pytest.mark.parametrize(
    ("name", "which"),
    [("lstm", "plain"), ("lstm", "all"), ("stack", "resets"), ("random", "ragged")],
)
def test_carries_of_every_step(name, which):
    """Each is the last carry of the sequence that ends there (or, backwards, begins there)."""
    flags = FLAGS[which]
    cell, params, options = set_up(name)
    carries, ys = unroll(cell, params, XS, return_carries=True, **flags, **options)
    last, want = unroll(cell, params, XS, **flags, **options)
    assert_close(ys, want)
    backwards = flags.get("reverse", False)
    assert_close(jax.tree.map(lambda leaf: leaf[0 if backwards else -1], carries), last)
    if not backwards:
        short = {k: v[:2] if k == "resets" else jnp.minimum(v, 2) for k, v in flags.items()}
        then = unroll(cell, params, XS[:2], **short, **options)[0]
        assert_close(jax.tree.map(lambda leaf: leaf[1], carries), then)


@pytest.mark.parametrize(
    ("gradient", "which"),
    [
        (None, "plain"),
        (bptt(), "all"),
        (truncated(T), "all"),
        (truncated(T, checkpointed(2, autodiff())), "resets"),
    ],
    ids=str,
)
def test_gradients_flow_through_the_carries(gradient, which):
    flags = FLAGS[which]
    cell, params, _ = set_up("lstm")

    def cost(how, params, xs):
        carries, ys = unroll(cell, params, xs, gradient=how, return_carries=True, **flags)
        return jnp.sum(jnp.sin(carries.c)) + jnp.sum(carries.h[2] ** 2) + jnp.sum(ys)

    got, want = (
        jax.grad(functools.partial(cost, how), (0, 1))(params, XS) for how in (gradient, autodiff())
    )
    assert_close(got, want)


def test_which_methods_keep_carries():
    cell, params, _ = set_up("lstm")
    with pytest.raises(ValueError, match=r"cudnn\(\) does not keep the carries.*sequential\(\)"):
        unroll(cell, params, XS, method=rnnjax.cudnn(), return_carries=True)
    method = sequential(unroll=2, hoist=True)
    carries, _ = unroll(cell, params, XS, method=method, return_carries=True)
    assert carries.c.shape == (T, B, H)
    assert method == sequential(unroll=2, hoist=True)
    layer = rnnjax.bidirectional(cell, rnnjax.gru(2))
    carries, _ = layer.apply(layer.init(jax.random.key(0), D), XS, return_carries=True)
    assert [leaf.shape for leaf in jax.tree.leaves(carries)] == [(T, B, H), (T, B, H), (T, B, 2)]


@pytest.mark.parametrize("name", CELLS)
def test_a_loop_of_steps_with_resets_is_unroll(name):
    cell, params, options = set_up(name)
    initial = cell.initial_carry(params, (B,), **options)
    want = unroll(cell, params, XS, resets=RESETS, **options)
    carry, ys = initial, []
    for x_t, reset in zip(XS, RESETS, strict=True):
        fresh = {"initial_carry": initial} if options else {}
        carry, y_t = step_with_reset(cell, params, carry, x_t, reset, **fresh)
        ys.append(y_t)
    assert_close((carry, jnp.stack(ys)), want)


@pytest.mark.parametrize("name", ["lstm", "stack", "random"])
def test_unroll_restarts_from_a_carry_of_the_users(name):
    cell, params, options = set_up(name)
    mine = jax.tree.map(
        lambda leaf: leaf + 0.3 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf,
        cell.initial_carry(params, (B,), **options),
    )
    carry, ys = unroll(cell, params, XS, **options)[0], []
    found = unroll(cell, params, XS, carry=carry, resets=RESETS, initial_carry=mine)
    for x_t, reset in zip(XS, RESETS, strict=True):
        carry, y_t = step_with_reset(cell, params, carry, x_t, reset, initial_carry=mine)
        ys.append(y_t)
    assert_close(found, (carry, jnp.stack(ys)))
    begun = unroll(cell, params, XS, resets=RESETS, initial_carry=mine)
    assert_close(begun, unroll(cell, params, XS, resets=RESETS, initial_carry=mine, carry=mine))
    few = {"resets": RESETS[:, 1:], "initial_carry": jax.tree.map(lambda leaf: leaf[1:], mine)}
    assert_close(unroll(cell, params, XS[:, 1:], **few)[1], begun[1][:, 1:])


def test_a_sequence_without_a_carry_begins_where_episodes_do():
    cell, params, _ = set_up("lstm")
    mine = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_carry(params, (B,)))
    resets = RESETS.at[0].set(False)

    def loop(carry):
        ys = []
        for x_t, reset in zip(XS, resets, strict=True):
            carry, y_t = step_with_reset(cell, params, carry, x_t, reset, initial_carry=mine)
            ys.append(y_t)
        return carry, jnp.stack(ys)

    options = {"resets": resets, "initial_carry": mine}
    assert_close(unroll(cell, params, XS, **options), loop(mine))
    assert_close(rnnjax.recurrent(cell).apply(params, XS, **options), loop(mine))
    own = cell.initial_carry(params, (B,))
    assert_close(unroll(cell, params, XS, carry=own, **options), loop(own))
    assert np.abs(loop(mine)[1][0] - loop(own)[1][0]).max() > 0.01


def test_layers_restart_from_a_carry_of_the_users():
    cells = rnnjax.gru(H), rnnjax.lstm(H)
    layer, stack = rnnjax.serial(*cells), rnnjax.stack(*cells)
    params = layer.init(jax.random.key(0), D)
    mine = jax.tree.map(lambda leaf: leaf + 0.3, stack.initial_carry(params, ()))
    options = {"resets": RESETS, "initial_carry": mine}
    got, want = layer.apply(params, XS, **options), unroll(stack, params, XS, **options)
    assert_close(got, want)
    assert np.abs(want[1] - unroll(stack, params, XS, resets=RESETS)[1]).max() > 0.01
    with pytest.raises(ValueError, match="initial_carry has 1 entries, expected 2"):
        layer.apply(params, XS, resets=RESETS, initial_carry=mine[:1])


def test_errors_of_a_carry_to_restart_from():
    cell, params, _ = set_up("lstm")
    run = functools.partial(unroll, cell, params, XS, initial_carry=cell.initial_carry(params, ()))
    with pytest.raises(ValueError, match="the state before the first step is carry="):
        run()
    with pytest.raises(ValueError, match="pass initial_carry= or key=, not both"):
        run(resets=RESETS, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"^initial_carry\.h is float64\[2, 3\], expected"):
        run(resets=RESETS, initial_carry=cell.initial_carry(params, (B - 1,)))


def test_errors_of_a_step_with_reset():
    cell, params, _ = set_up("lstm")
    carry = cell.initial_carry(params, (B,))
    step = functools.partial(step_with_reset, cell, params, carry, XS[0])
    with pytest.raises(TypeError, match="reset has dtype int64: expected booleans"):
        step(jnp.zeros(B, int))
    for wrong in (jnp.zeros(2, bool), jnp.zeros((B, 1), bool), True):
        with pytest.raises(ValueError, match=r"reset has shape.*x_t has the batch shape \(3,\)"):
            step(wrong)
    step = functools.partial(step_with_reset, cell, params)
    reset, narrow = jnp.zeros(B, bool), cell.initial_carry(params, (B - 1,))
    with pytest.raises(ValueError, match=r"^carry\.h is float64\[2, 3\], expected float64\[3, 3\]"):
        step(narrow, XS[0], reset)
    with pytest.raises(ValueError, match=r"^initial_carry\.h is float64\[2, 3\], expected"):
        step(carry, XS[0], reset, initial_carry=narrow)
    random, params, options = set_up("random")
    carry = random.initial_carry(params, (B,), **options)
    learn = rnnjax.online.learner(random, rnnjax.online.snap(1))
    state = learn.init(params, XS[0], **options)
    for wrong in (
        lambda: step_with_reset(random, params, carry, XS[0], reset),
        lambda: learn.step(params, state, XS[0], reset=reset),
    ):
        with pytest.raises(ValueError, match=r"initial_carry=cell\.initial_carry\(.*, key\)"):
            wrong()


@pytest.mark.parametrize("gradient", [None, checkpointed(2), truncated(2)])
def test_randomness_goes_on_in_a_carry_and_is_drawn_for_new_episodes(gradient):
    cell, params, options = set_up("random")
    drawn = cell.initial_carry(params, (B,), jax.random.key(7))
    carry, ys = unroll(cell, params, XS, **options)[0], []
    kinds = {"key": jax.random.key(7), "resets": RESETS, "gradient": gradient}
    found = unroll(cell, params, XS, carry=carry, **kinds)
    for t, (x_t, reset) in enumerate(zip(XS, RESETS, strict=True)):
        fresh = {"initial_carry": drawn} if t % 2 else {"key": jax.random.key(7)}
        carry, y_t = step_with_reset(cell, params, carry, x_t, reset, **fresh)
        ys.append(y_t)
    assert_close(found, (carry, jnp.stack(ys)))
    with pytest.raises(ValueError, match="pass initial_carry= or key=, not both"):
        step_with_reset(
            cell, params, carry, XS[0], RESETS[0], initial_carry=drawn, key=jax.random.key(7)
        )


def test_episodes_restart_from_one_carry_for_all():
    cell, params, _ = set_up("lstm")
    one = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_carry(params, ()))
    every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (B, *leaf.shape)), one)
    carry, reset = cell.initial_carry(params, (B,)), RESETS[2]
    step = functools.partial(step_with_reset, cell, params, carry, XS[0], reset)
    assert_close(step(initial_carry=one), step(initial_carry=every))
    learn = rnnjax.online.learner(cell, rnnjax.online.snap(1))
    step = functools.partial(learn.step, params, learn.init(params, XS[0]), XS[0], reset=reset)
    assert_close(step(initial_carry=one), step(initial_carry=every))


def test_one_carry_for_every_example():
    cell, params, _ = set_up("stack")
    one = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_carry(params, ()))
    every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (B, *leaf.shape)), one)
    assert_close(unroll(cell, params, XS, carry=one), unroll(cell, params, XS, carry=every))
    xs = XS[:, None, :1]  # two batch axes, one example
    assert_close(
        unroll(cell, params, xs, carry=one),
        unroll(cell, params, xs, carry=jax.tree.map(lambda leaf: leaf[None, None], one)),
    )
    gradient = jax.grad(lambda c: unroll(cell, params, XS, carry=c)[1].real.sum(), allow_int=True)
    np.testing.assert_allclose(gradient(one)[0].h, gradient(every)[0].h.sum(0), rtol=1e-10)


def test_a_carry_with_one_key_is_not_that_of_every_example():
    cell, params, options = set_up("random")
    one = cell.initial_carry(params, (), **options)
    with pytest.raises(
        ValueError, match=r"carry\.cell\.h is float64\[3\], expected float64\[3, 3\]"
    ):
        unroll(cell, params, XS, carry=one)


def test_num_params():
    _, params, _ = set_up("stack")
    gru, lru = params
    assert rnnjax.num_params(gru) == D * 3 * H + H * 3 * H + 3 * H + H
    sizes = [leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in jax.tree.leaves(lru)]
    assert rnnjax.num_params(params) == rnnjax.num_params(gru) + sum(sizes)
    assert rnnjax.num_params({"w": jnp.ones((2, 3), complex), "key": jax.random.key(0)}) == 12
    assert rnnjax.num_params(jax.eval_shape(lambda: params)) == rnnjax.num_params(params)
