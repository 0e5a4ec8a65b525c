"""Learners along a stream: they are `unroll`'s gradients, step by step."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import online

T, B, D, H = 5, 2, 2, 3
XS = np.random.default_rng(0).normal(size=(T, B, D))
RESETS = jnp.array([[0, 0], [0, 1], [0, 0], [1, 0], [0, 0]], bool)
KEY = jax.random.key(1)


def along_the_stream(cell, params, algorithm):
    learn = online.learner(cell, algorithm)

    def body(running, at):
        state, total = running
        x_t, reset = at
        state, y_t = learn.step(params, state, x_t, reset=reset)
        part = learn.gradient(state, jnp.cos(y_t))  # of Σ sin(y_t)
        return (state, jax.tree.map(jnp.add, total, part)), y_t

    zero = jax.tree.map(jnp.zeros_like, params)
    (state, total), ys = jax.lax.scan(body, (learn.init(params, XS[0]), zero), (XS, RESETS))
    return state, total, ys


def in_unroll(cell, params, gradient):
    def cost(params):
        return jnp.sum(
            jnp.sin(rnnjax.unroll(cell, params, XS, resets=RESETS, gradient=gradient)[1])
        )

    return jax.grad(cost)(params)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("cell", "algorithm"),
    [
        (rnnjax.vanilla(H), online.rtrl()),
        (rnnjax.gru(H), online.snap(1)),
        (rnnjax.vanilla(H), online.kf_rtrl(KEY)),
    ],
)
def test_a_stream_gives_the_numbers_of_unroll(cell, algorithm):
    params = cell.init(jax.random.key(0), D)
    state, total, ys = along_the_stream(cell, params, algorithm)
    for a, b in zip(total, in_unroll(cell, params, algorithm), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(ys, rnnjax.unroll(cell, params, XS, resets=RESETS)[1])
    assert state.age.tolist() == [2, 4]


@pytest.mark.usefixtures("eager")
def test_a_learned_initial_state_is_part_of_params():
    """It is params that the first carry, and that of every episode, is made of."""
    inner = rnnjax.vanilla(H)

    def init(key, inputs):
        return {"cell": inner.init(key, inputs), "first": jnp.full(H, 0.5)}

    def initial_carry(params, batch_shape=()):
        return type(inner.initial_carry(params["cell"]))(
            jnp.broadcast_to(params["first"], (*batch_shape, H))
        )

    def step(params, carry, x_t):
        return inner.step(params["cell"], carry, x_t)

    cell = rnnjax.Cell(init, initial_carry, step)
    params = cell.init(jax.random.key(0), D)
    want = in_unroll(cell, params, rnnjax.autodiff())
    _, total, _ = along_the_stream(cell, params, online.rtrl())
    np.testing.assert_allclose(total["first"], want["first"], rtol=1e-11)
    np.testing.assert_allclose(total["cell"].w_h, want["cell"].w_h, rtol=1e-11, atol=1e-13)
    assert np.abs(in_unroll(cell, params, online.rtrl())["first"] - want["first"]).max() < 1e-12


@pytest.mark.usefixtures("eager")
def test_a_learned_carry_is_learned_where_the_cell_draws_too():
    cell = rnnjax.learned_carry(rnnjax.zoneout(rnnjax.vanilla(H), h=0.4))
    params = jax.tree.map(lambda leaf: leaf + 0.5, cell.init(jax.random.key(0), D))
    learn, keys = online.learner(cell, online.rtrl()), jax.random.split(KEY, T + 1)

    def by_hand(params):
        carry, total = cell.initial_carry(params, (B,), keys[T]), 0.0
        for x_t, reset, key in zip(XS, RESETS, keys[:T], strict=True):
            carry, y_t = rnnjax.step_with_reset(
                cell, params, carry, x_t, reset, initial_carry=cell.initial_carry(params, (B,), key)
            )
            total += jnp.sum(jnp.sin(y_t))
        return total

    state, total = learn.init(params, XS[0], key=keys[T]), None
    for x_t, reset, key in zip(XS, RESETS, keys[:T], strict=True):
        state, y_t = learn.step(params, state, x_t, reset=reset, key=key)
        part = learn.gradient(state, jnp.cos(y_t))
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    for a, b in zip(*map(jax.tree.leaves, (total, jax.grad(by_hand)(params))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    for wrong in ({}, {"reset": RESETS[0], "initial_carry": state.carry}):
        with pytest.raises(ValueError, match="pass it with reset= and without initial_carry="):
            learn.step(params, state, XS[0], key=KEY, **wrong)


@pytest.mark.usefixtures("eager")
def test_where_a_state_begins_is_in_the_blocks_of_a_sparse_influence():
    """It is made of weights that the step reads too."""
    inner = rnnjax.vanilla(H)

    def initial_carry(params, batch_shape=()):
        return type(inner.initial_carry(params))(
            jnp.broadcast_to(params.b + 0.3, (*batch_shape, H))
        )

    cell = rnnjax.Cell(inner.init, initial_carry, inner.step)
    params = cell.init(jax.random.key(0), D)
    want = in_unroll(cell, params, rnnjax.autodiff())
    _, total, _ = along_the_stream(cell, params, online.snap(2))  # dense: it reaches everything
    for a, b in zip(total, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Pair:
    v: jax.Array
    h: jax.Array


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("made", [dict, Pair, collections.namedtuple("Named", "v h")])
def test_the_output_may_be_a_field_of_any_kind_of_carry(made):
    def initial_carry(params, batch_shape=()):
        zeros = jnp.zeros((*batch_shape, H))
        return made(v=zeros, h=zeros)

    def step(params, carry, x_t):
        v, h = (carry[k] if made is dict else getattr(carry, k) for k in "vh")
        v = 0.5 * v + h @ params["w"]
        h = jnp.tanh(x_t.sum(-1, keepdims=True) - v)
        return made(v=v, h=h), h

    weights = {"w": jnp.asarray(np.random.default_rng(2).normal(size=(H, H)))}
    named = rnnjax.Structure(output="h")
    cell = rnnjax.Cell(lambda key, inputs: weights, initial_carry, step, structure=named)
    assert rnnjax.gradients.check(cell, weights, XS, differences=False).passed
    other = cell._replace(structure=rnnjax.Structure(output="v"))
    wrong = rnnjax.gradients.check(other, weights, XS, differences=False)
    assert {row.leaf for row in wrong.values if not row.passed} == {"carry.v"}
    with pytest.raises(ValueError, match=r"output='r'.*whose fields are .*h"):
        rnnjax.gradients.check(cell._replace(structure=rnnjax.Structure(output="r")), weights, XS)
    want = in_unroll(cell, weights, rnnjax.autodiff())["w"]
    _, total, _ = along_the_stream(cell, weights, online.rtrl())
    np.testing.assert_allclose(total["w"], want, rtol=1e-11, atol=1e-13)
    ys = rnnjax.unroll(rnnjax.zoneout(cell, v=0.0), weights, XS)[1]
    np.testing.assert_allclose(ys, rnnjax.unroll(cell, weights, XS)[1], rtol=1e-12)


@pytest.mark.usefixtures("eager")
def test_params_that_join_units_may_be_in_a_dict():
    inner = rnnjax.vanilla(H)
    params, rule = inner.init(jax.random.key(0), D), inner.rule
    Params = type(params)
    cell = rnnjax.Cell(
        lambda key, inputs: inner.init(key, inputs)._asdict(),
        lambda params, batch_shape=(): inner.initial_carry(Params(**params), batch_shape),
        lambda params, carry, x_t: inner.step(Params(**params), carry, x_t),
        rnnjax.Rule(
            lambda params, xs: rule.project(Params(**params), xs),
            lambda params, carry, z_t: rule.forward(Params(**params), carry, z_t),
            lambda params, *rest: rule.backward(Params(**params), *rest),
            lambda params, *rest: (lambda found: (found[0]._asdict(), found[1]))(
                rule.gradients(Params(**params), *rest)
            ),
        ),
        rnnjax.Structure(mixing=("w_h",), output="h"),
    )
    assert rnnjax.gradients.check(cell, params._asdict(), XS, differences=False).passed
    for algorithm in (online.snap(1), online.eprop()):
        _, found, _ = along_the_stream(cell, params._asdict(), algorithm)
        _, want, _ = along_the_stream(inner, params, algorithm)
        for name, value in want._asdict().items():
            np.testing.assert_allclose(found[name], value, rtol=1e-12)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("cell", [rnnjax.vanilla(H), rnnjax.ctrnn(H)], ids=str)
def test_cotangents_have_the_shapes_of_what_they_are_of(cell):
    params, x_t = cell.init(jax.random.key(0), D), XS[0]
    if cell.structure.output is None:  # y_t = φ(h_t)
        x_t = (x_t, jnp.full(B, 0.5))
    learn = online.learner(cell, online.snap(2))
    state, y_t = learn.step(params, learn.init(params, x_t), x_t)
    for wrong in (y_t[:, :1], y_t[:, 0], y_t[..., None], jnp.ones((B, 2 * H)), jnp.ones(())):
        with pytest.raises(ValueError, match=r"y_ct is .*, expected the cotangent.*\[2, 3\]"):
            learn.gradient(state, wrong)
    want = learn.gradient(state, jnp.ones((B, H)))
    for given in (np.ones((B, H), int), np.ones((B, H)).tolist()):
        for a, b in zip(*map(jax.tree.leaves, (learn.gradient(state, given), want)), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"carry_ct is float64\[2, 3\], expected the cotangents"):
        learn.gradient(state, y_t, y_t)


@pytest.mark.usefixtures("eager")
def test_a_cotangent_of_a_carry_with_keys_is_as_jax_gives_it():
    cell = rnnjax.zoneout(rnnjax.vanilla(H), h=0.2)
    params = cell.init(jax.random.key(0), D)
    learn = online.learner(cell, online.rtrl())
    state, y_t = learn.step(params, learn.init(params, XS[0], key=KEY), XS[0])
    (carry_ct,) = jax.vjp(lambda carry: jnp.sum(carry.cell.h**2), state.carry)[1](1.0)
    found = learn.gradient(state, 0 * y_t, carry_ct)
    want = learn.gradient(state, 2 * state.carry.cell.h)
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_state_is_what_init_and_step_return():
    cell = rnnjax.vanilla(H)
    params = cell.init(jax.random.key(0), D)
    learn = online.learner(cell, online.snap(1))
    state, y_t = learn.step(params, learn.init(params, XS[0]), XS[0])
    with pytest.raises(
        TypeError, match=r"state must be a LearnerState.*step\(params, state, x_t\)"
    ):
        learn.step(params, state.carry, XS[0])  # pyright: ignore
    with pytest.raises(TypeError, match=r"gradient\(state, y_ct\), got float64\[2, 3\]"):
        learn.gradient(y_t, state)  # pyright: ignore
    with pytest.raises(ValueError, match="initial_carry is where episodes begin: pass reset="):
        learn.step(params, state, XS[0], initial_carry=state.carry)


def test_the_cell_comes_before_the_algorithm():
    with pytest.raises(TypeError, match=r"the cell comes first, as in learner\(cell"):
        online.learner(online.rtrl(), rnnjax.vanilla(H))  # pyright: ignore


KAPPA = 0.8


@pytest.mark.usefixtures("eager")
def test_a_filtered_trace_learns_of_a_leaky_readout():
    """Errors of each step by themselves, and the whole by autodiff of the readout in `unroll`."""
    cell = rnnjax.lstm(H)
    params, w = cell.init(jax.random.key(0), D), np.random.default_rng(1).normal(size=(H, 2))

    def leak(outputs, y_t):
        outputs = KAPPA * outputs + y_t @ w
        return outputs, jnp.sin(outputs)

    def cost(params):
        ys = rnnjax.unroll(cell, params, XS, gradient=online.eprop())[1]
        return sum(jnp.sum(o_t) for o_t in readouts(ys))

    def readouts(ys):
        outputs, found = jnp.zeros((B, 2)), []
        for y_t in ys:
            outputs, o_t = leak(outputs, y_t)
            found.append(o_t)
        return found

    learn = online.learner(cell, online.eprop(kappa=KAPPA))
    state, outputs, total = learn.init(params, XS[0]), np.zeros((B, 2)), None
    for x_t in XS:
        state, y_t = learn.step(params, state, x_t)
        outputs, _ = leak(outputs, y_t)
        part = learn.gradient(state, jnp.cos(outputs) @ w.T)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    for a, b in zip(total, jax.grad(cost)(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_it_learns_while_it_lives():
    """A thousand steps of a stream: an input is to be recalled one step later."""
    cell = rnnjax.vanilla(4)
    params = cell.init(jax.random.key(0), 1)
    learn = online.learner(cell, online.rtrl())
    xs = np.sign(np.random.default_rng(0).normal(size=(1000, 1)))

    def live(running, at):
        params, state = running
        x_t, target = at
        state, y_t = learn.step(params, state, x_t)
        value, y_ct = jax.value_and_grad(lambda y: jnp.sum((y[:1] - 0.8 * target) ** 2))(y_t)
        down = learn.gradient(state, y_ct)
        return (jax.tree.map(lambda p, g: p - 0.1 * g, params, down), state), value

    first = (params, learn.init(params, xs[0]))
    (_, state), losses = jax.jit(lambda: jax.lax.scan(live, first, (xs[1:], xs[:-1])))()
    sizes = [leaf.size for leaf in jax.tree.leaves(state.influence)]
    assert sum(sizes) == 4 * rnnjax.num_params(params)
    assert losses[:5].mean() > 0.1
    assert losses[-100:].mean() < 0.005


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_readout_sends_its_error_back_by_the_feedback(adaptive):
    rng = np.random.default_rng(0)
    ys, w, b = (rng.normal(size=shape) for shape in ((T, B, H), (H, 2), (H, 2)))

    def cost(ys, w, b):
        return jnp.sum(jnp.sin(online.readout_with_feedback(ys, w, b, adaptive=adaptive)))

    ys_ct, w_ct, b_ct = jax.grad(cost, (0, 1, 2))(ys, w, b)
    error = np.cos(ys @ w)
    np.testing.assert_allclose(ys_ct, error @ b.T)
    np.testing.assert_allclose(w_ct, np.einsum("tbh,tbo->ho", ys, error))
    np.testing.assert_allclose(b_ct, w_ct if adaptive else np.zeros_like(b))
    with pytest.raises(ValueError, match=r"feedback has shape \(2, 3\) and w_out \(3, 2\)"):
        online.readout_with_feedback(ys, w, b.T)


def test_a_cotangent_is_looked_at_before_the_first_step_too():
    cell = rnnjax.lstm(3)
    params = cell.init(jax.random.key(0), 2)
    state = rnnjax.online.learner(cell, rnnjax.online.rtrl()).init(params, jnp.ones((4, 2)))
    again = rnnjax.online.learner(cell, rnnjax.online.rtrl())
    with pytest.raises(ValueError, match=r"expected the cotangent .*\[4, 3\]"):
        again.gradient(state, jnp.ones(4))
    assert not np.any(again.gradient(state, jnp.ones((4, 3))).w_h)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "cell", [rnnjax.gru(H, dtype="bfloat16"), rnnjax.vanilla(H, dtype="float16")]
)
def test_half_precision_is_not_promoted_unasked(cell):
    params, x_t = cell.init(jax.random.key(0), D), jnp.ones((B, D))
    learn = online.learner(cell, online.snap(1))
    with jax.numpy_dtype_promotion("strict"):
        state, y_t = learn.step(params, learn.init(params, x_t), x_t)
        found = learn.gradient(state, y_t, jax.tree.map(jnp.ones_like, state.carry))
    assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}

    def cost(params):
        carry, y_t = cell.step(params, cell.initial_carry(params, (B,)), x_t.astype(cell_dtype))
        return jnp.sum(y_t**2 / 2) + sum(jnp.sum(leaf) for leaf in carry)

    cell_dtype = params.b.dtype
    want = jax.grad(cost)(params)
    np.testing.assert_allclose(found.w_x, want.w_x, rtol=0.05, atol=0.02)
