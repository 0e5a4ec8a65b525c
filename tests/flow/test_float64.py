"""Measures of a float32 net are taken in float64, unless the caller's program says otherwise."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flow_problems import drawn, normal
from op_by_op import op_by_op

import rnnjax
from rnnjax import flow
from rnnjax.flow._float64 import explained
from rnnjax.gradients import clip_by_norm

CELL = rnnjax.lstm(2)
PARAMS = jax.tree.map(jnp.float32, drawn(CELL, 1))
XS = jnp.float32(normal(1, 5, 3, 1))


def last(carry, ys):
    return jnp.sum(ys[-1] ** 2)


def loss(params, xs, gradient):
    return last(*rnnjax.unroll(CELL, params, xs, gradient=gradient))


def clipped(params, xs):
    clips = {"by norm": optax.clip_by_global_norm(1e-3)}
    return flow.clipping(loss, params, jnp.moveaxis(xs, 1, 0), clips)


MEASURES = {
    "record": lambda *net: flow.record(CELL, *net, last),
    "norms": lambda *net: flow.gradient_norms(flow.record(CELL, *net, last)),
    "half-life": lambda *net: flow.half_life(flow.record(CELL, *net, last)),
    "verdict": lambda *net: flow.verdict(flow.record(CELL, *net, last))[1:5],
    "jacobians": lambda *net: flow.jacobians(CELL, *net),
    "singular values": lambda *net: flow.log_singular_values(flow.jacobians(CELL, *net), [4]).logs,
    "exponents": lambda *net: flow.lyapunov_spectrum(CELL, *net),
    "flossing": lambda *net: flow.flossing(CELL, *net, 2),
    "sensitivity": lambda *net: flow.sensitivity(CELL, *net),
    "paths": lambda *net: flow.paths(CELL, *net, last).parts,
    "regularizer": lambda *net: flow.pascanu_regularizer(CELL, *net, last),
    "ratios": lambda *net: flow.pascanu_ratios(CELL, *net, last),
    "truncation": lambda *net: flow.truncation_length(CELL, *net, last).norms,
    "clipping": lambda *net: clipped(*net)[:3],
}


LONG_PROGRAMS = ("exponents", "flossing")  # these take longer to trace than to run op by op


@pytest.mark.parametrize("name", MEASURES)
def test_a_float32_net_is_measured_in_float64(name):
    measure = MEASURES[name]
    with op_by_op() if name in LONG_PROGRAMS else nullcontext():
        want = measure(*jax.tree.map(jnp.float64, (PARAMS, XS)))
        with jax.enable_x64(False):
            found = measure(PARAMS, XS)
    assert jax.tree.structure(found) == jax.tree.structure(want)
    for a, b in zip(*map(jax.tree.leaves, (found, want)), strict=True):
        assert not isinstance(a, jax.Array)  # JAX would round it to float32 in the next operation
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


def test_weights_in_other_forms_are_measured_in_all_their_digits():
    wide = jax.tree.map(np.asarray, drawn(CELL, 1))
    want = flow.jacobians(CELL, wide, XS)
    with jax.enable_x64(False), op_by_op():
        for params in (wide, wide._asdict(), jax.tree.map(np.ndarray.tolist, wide)):
            np.testing.assert_array_equal(flow.jacobians(CELL, params, XS), want)
            np.testing.assert_array_equal(flow.jacobians(CELL, params=params, xs=XS), want)
        with pytest.raises(TypeError, match="multiple values for argument 'params'"):
            flow.jacobians(CELL, wide, XS, params=wide)  # pyright: ignore
        with pytest.raises(TypeError, match="positional argument"):
            flow.jacobians(CELL, wide, XS, None)  # pyright: ignore


def test_a_norm_below_all_float32_is_no_zero():
    cell = rnnjax.vanilla(1, "identity")
    params = rnnjax.cells.VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 0.01), jnp.zeros(1))
    params = jax.tree.map(jnp.float32, params)
    with jax.enable_x64(False):
        found = flow.record(cell, params, jnp.ones((41, 1), jnp.float32), last)
        ratio = flow.verdict(found).log10_ratio
        assert jnp.float32(flow.gradient_norms(found)[0]) == 0
    np.testing.assert_allclose(ratio, 40 * np.log10(np.float64(np.float32(0.01))), rtol=1e-12)


def test_within_a_program_of_the_caller_dtypes_stay_also_after_float64():
    cell = rnnjax.urnn(3)  # indexes by constants of its own
    params = jax.tree.map(jnp.float32, cell.init(jax.random.key(0), 1))
    with jax.enable_x64(False):
        wide = flow.flossing(cell, params, XS, 1)
        value, grads = jax.value_and_grad(lambda params: flow.flossing(cell, params, XS, 1))(params)
        within = jax.jit(lambda: flow.jacobians(CELL, PARAMS, XS))()
    assert {leaf.dtype for leaf in (value, within, *grads)} == {np.dtype("float32")}
    np.testing.assert_allclose(value, wide, rtol=0, atol=1e-6)


@pytest.mark.parametrize("transform", [jax.grad, jax.vmap, jax.jit])
def test_what_the_cost_closes_over_may_be_transformed(transform):
    def measure(readout):
        def cost(carry, ys):
            return jnp.sum((ys[-1] * readout) ** 2)

        return flow.gradient_norms(flow.record(CELL, PARAMS, XS, cost)).sum()

    readout = jnp.ones((2,) if transform is jax.vmap else (), jnp.float32)
    with jax.enable_x64(False):
        found = transform(measure)(readout)
    assert found.dtype == jnp.float32
    assert found.shape == readout.shape
    assert np.all(np.asarray(found) > 0)


def test_lengths_under_strict_promotion_and_exponents_within_a_program():
    lengths = jnp.array([2, 5, 3], jnp.int32)
    with jax.enable_x64(False):
        with jax.numpy_dtype_promotion("strict"):
            found = flow.record(CELL, PARAMS, XS, lambda carry, ys: carry.h.sum(), lengths=lengths)
            assert flow.gradient_norms(found)[2, 0] == 0
            options = {"lengths": lengths, "bias": np.float64(0.1)}
            assert flow.truncation_length(CELL, PARAMS, XS, last, **options).bias == 0.1
            jacobians = flow.jacobians(CELL, PARAMS, XS, lengths=lengths)
            flow.log_singular_values(jacobians, [2], lengths=lengths)
        alone = flow.lyapunov_spectrum(CELL, PARAMS, XS, 1)
        within = jax.jit(lambda: flow.lyapunov_spectrum(CELL, PARAMS, XS, 1))()
    np.testing.assert_allclose(alone, within, rtol=1e-5)


def test_fixed_points_of_a_complex_net_are_in_float64():
    cell = rnnjax.lru(1)
    with jax.enable_x64(False):
        params = cell.init(jax.random.key(0), 1)
        starts = cell.initial_carry(params, (1,))
        found = flow.fixed_points(cell, params, XS[0, 0], starts)
    assert {leaf.dtype for leaf in jax.tree.leaves(found.states)} == {np.dtype("complex128")}


def test_a_clip_in_the_loop_sees_float64():
    seen = []

    def clip(delta):
        seen.append(delta.dtype)
        return delta

    with jax.enable_x64(False):
        fired = flow.clipped_steps(CELL, PARAMS, XS, last, clip)
    assert set(seen) == {np.dtype("float64")}
    assert not fired.any()
    assert flow.clipped_steps(CELL, PARAMS, XS, last, clip_by_norm(1e-9)).all()


def test_a_cell_that_names_float32_is_told():
    def step(params, h, x_t):
        h = jnp.tanh(h @ params + x_t)
        return h, h

    def initial_carry(params, batch_shape=(), key=None):
        return jnp.zeros((*batch_shape, 2), jnp.float32)

    cell = rnnjax.Cell(lambda key, inputs: jnp.eye(2), initial_carry, step)
    with jax.enable_x64(False), pytest.raises(TypeError) as raised:
        flow.jacobians(cell, jnp.eye(2), XS)
    assert "in the dtype of params" in raised.value.__notes__[-1]


@pytest.mark.usefixtures("eager")
def test_the_note_is_on_errors_about_dtypes_alone():
    xs = jnp.ones((64, 1))
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match="64") as raised:
            flow.lyapunov_spectrum(CELL, PARAMS, xs, burn_in=64)
        assert "measures in float64" not in str(getattr(raised.value, "__notes__", ""))
        carry = CELL.initial_carry(PARAMS, (64,))
        with pytest.raises(ValueError, match="64, 2") as raised:
            flow.jacobians(CELL, PARAMS, XS, carry=carry)
        assert "measures in float64" not in str(getattr(raised.value, "__notes__", ""))


@pytest.mark.parametrize(
    ("message", "dtype", "noted"),
    [
        ("the input has type float64[2], the output float32[2]", "float64", True),
        ("outputs f32[2] and f64[2] differ", "float64", True),
        ("got c128[2], complex64", "float64", True),
        ("carry int32[] but output int64[]", "float64", True),
        ("float64[2] but float64[3]", "float64", False),
        ("float64[2] beside int32[]", "float64", False),
        ("bfloat16 and float32", "float64", False),
        ("w_x is bfloat16, w_h is float32", "bfloat16", True),
        ("carry complex64[1] but float32[1]", "float32", False),
    ],
)
def test_errors_about_dtypes_are_known_by_what_they_name(message, dtype, noted):
    with pytest.raises(TypeError) as raised, explained(dtype, "why"):
        raise TypeError(message)
    assert getattr(raised.value, "__notes__", []) == ["why"] * noted


@pytest.mark.usefixtures("eager")
def test_constants_of_a_dtype_are_explained_by_watch_and_precision():
    signs = np.ones((2, 1), np.float32)

    def signed(step):
        return lambda params, carry, x_t: step(
            params._replace(w_h=jnp.abs(params.w_h) * signs), carry, x_t
        )

    def named(step):
        return lambda params, carry, x_t: step(
            params._replace(w_h=jnp.float32(params.w_h)), carry, x_t
        )

    inside = rnnjax.vanilla(2)
    params = jax.tree.map(jnp.float32, drawn(inside, 1))
    with jax.enable_x64(False):
        with pytest.raises(TypeError, match="w_h is float32") as raised:
            flow.precision(rnnjax.wrap(inside, signed), params, XS, last, dtypes=["bfloat16"])
        note = raised.value.__notes__[-1]
        assert (
            "here runs the net in bfloat16: what is in another dtype was made by the cell" in note
        )
        with pytest.raises(TypeError, match="w_h is float32") as raised:
            flow.watch(rnnjax.wrap(inside, named), XS, last).measure(params)
        note = raised.value.__notes__[-1]
        assert "rnnjax.flow measures in float64, and casts what it is given" in note


def counting(params, carry, x_t):
    h, t = carry
    h = jnp.tanh(x_t @ params["w"] + h @ params["u"]) * (1 + t[..., None] % 2)
    return (h, t + jnp.arange(2).sum()), h


def idle(params, carry, x_t):
    (h, _), y_t = counting(params, (carry[0], jnp.zeros((), int)), x_t)
    return (h / 2, carry[1] + jnp.arange(2).sum()), y_t


def test_integers_of_a_carry_keep_their_width():
    """The step and the carry name no dtype: they are int64 where the measure is taken."""
    cell = rnnjax.Cell(
        lambda key, inputs: {"w": jnp.ones((inputs, 2)) / 2, "u": jnp.eye(2)},
        lambda params, shape=(): (jnp.zeros((*shape, 2), params["w"].dtype), jnp.zeros(shape, int)),
        counting,
    )
    with jax.enable_x64(False):
        params = cell.init(jax.random.key(0), 1)
        carry = cell.initial_carry(params, (3,))
        assert carry[1].dtype == jnp.int32
        found = flow.record(cell, params, XS, last, carry=carry).carry_ct[0]
        exponents = flow.lyapunov_spectrum(cell, params, XS, 1, carry=carry)
        precise = flow.precision(cell, params, XS, last, dtypes=["float32"])
        points = flow.fixed_points(rnnjax.Cell(*cell[:2], idle), params, XS[0, 0], carry)
        watched = flow.watch(cell, XS, last)(0, params)
        assert rnnjax.gradients.check(cell, params, XS).passed
    assert precise.errors["float32"].max() < 1e-4
    assert points.states[1].dtype == np.int32
    wide = {name: jnp.float64(leaf) for name, leaf in params.items()}
    want = flow.record(cell, wide, jnp.float64(XS), last).carry_ct[0]
    np.testing.assert_allclose(found, want, rtol=1e-12)
    exponent = flow.lyapunov_spectrum(cell, wide, jnp.float64(XS), 1)
    np.testing.assert_allclose(exponents, exponent, rtol=1e-12)
    np.testing.assert_allclose(watched["lyapunov"], np.mean(exponent), rtol=1e-12)
