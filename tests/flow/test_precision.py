"""Digits of the gradient by lag: of a net whose rounding errors are known, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compiled
from flow_problems import drawn, normal
from looked_at import faults, legend_of

import rnnjax
from rnnjax.cells import VanillaParams
from rnnjax.experiments.report import _precision as figure, style
from rnnjax.flow import Precision, precision


def last(carry, ys):
    del carry
    return ys[-1].sum()


def test_rounding_a_weight_costs_digits_at_every_lag():
    """h = w h + x: g = w^lag, and rounding w by a factor 1 + ε makes it (1 + ε)^lag too large."""
    cell = rnnjax.vanilla(1, "identity")
    w = 1.001
    params = VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), w), jnp.zeros(1))
    xs = jnp.ones((400, 2, 1))
    found = precision(cell, params, xs, last, dtypes=("float32", jnp.float64))
    epsilon = float(np.float32(w)) / w - 1
    want = np.abs(np.expm1(found.lags * np.log1p(epsilon)))
    assert found.errors["float32"].shape == (400, 2)
    np.testing.assert_allclose(found.errors["float32"][:, 0], want, atol=3e-5)
    assert want[-1] > 5e-6
    assert found.errors["float64"].max() < 1e-12
    assert found.lost == {"float32": None, "float64": None}
    rows = str(found).splitlines()
    assert [row.split()[0] for row in rows] == ["dtype", "float32", "float64"]


def test_a_chaotic_net_has_no_digit_left_far_back():
    cell = rnnjax.vanilla(16)
    params = drawn(cell, 1)._replace(w_h=jnp.asarray(2.5 * normal(2, 16, 16) / 4))
    found = precision(cell, params, 0.1 * normal(1, 60, 3, 1), last, dtypes=("bfloat16", "float32"))
    lost = found.lost
    assert lost["bfloat16"] is not None
    assert lost["float32"] is None or lost["float32"] > lost["bfloat16"]
    medians = np.median(found.errors["bfloat16"], axis=1)
    assert np.all(medians[lost["bfloat16"] :] >= 0.5)
    assert lost["bfloat16"] == 0 or medians[lost["bfloat16"] - 1] < 0.5


def test_float32_users_are_audited_in_float64_all_the_same():
    cell = rnnjax.lstm(2)
    params = jax.tree.map(jnp.float32, drawn(cell, 1))
    with jax.enable_x64(False):
        found = precision(cell, params, jnp.float32(normal(1, 4, 1)), last, dtypes=["float32"])
    assert 0 < found.errors["float32"].max() < 1e-5


def test_the_first_state_is_rounded_too():
    """h_1 = tanh(w h_0) where x_1 = 0: rounding h_0 by δ changes g = 1 - tanh² by 2 tanh g w δ."""
    cell = rnnjax.vanilla(1)
    params = VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 1.0), jnp.zeros(1))
    carry = cell.initial_carry(params)._replace(h=jnp.full(1, 0.3))
    found = precision(
        cell, params, jnp.zeros((1, 1)), last, dtypes=["float64", "bfloat16"], carry=carry
    )
    assert found.errors["float64"][0] < 1e-15
    rounded = 0.3 - float(jnp.bfloat16(0.3))
    assert found.errors["bfloat16"][0] > abs(rounded) / 10
    alone = precision(cell, params, jnp.zeros((1, 1)), last, dtypes=["bfloat16"])
    assert alone.errors["bfloat16"][0] == 0.0  # from zero nothing is rounded


def test_wrong_calls_say_what_to_do():
    cell = rnnjax.vanilla(2)
    noisy = rnnjax.ctrnn(2, noise=0.1)
    always = noisy._replace(
        initial_carry=lambda params, shape, key=None: noisy.initial_carry(
            params, shape, jax.random.key(0)
        ),
        rule=None,
    )
    inputs = normal(1, 3, 1), jnp.ones(3)
    with pytest.raises(
        ValueError, match=r"PRNG keys in its carry, carry\.keys: JAX draws other num"
    ):
        precision(always, drawn(always, 1), inputs, last, dtypes=["float32"])
    quiet = precision(noisy, drawn(noisy, 1), inputs, last, dtypes=["float32"])
    assert quiet.errors["float32"].max() < 1e-5
    if jax.default_backend() != "gpu":
        with pytest.raises(ValueError, match=r"in which NVIDIA GPUs multiply.*leave it out here"):
            precision(cell, drawn(cell, 1), jnp.ones((2, 1)), last, dtypes=["tensorfloat32"])
    with pytest.raises(TypeError, match=r"dtypes must be real floating-point dtypes, got 'int8'"):
        precision(cell, drawn(cell, 1), jnp.ones((2, 1)), last, dtypes=["int8"])
    with pytest.raises(TypeError, match=r"Embed token ids first"):
        precision(cell, drawn(cell, 1), jnp.ones((2, 1), int), last)


def test_the_figure_can_be_read():
    lags = np.arange(30)
    errors = {"bfloat16": 0.01 * 1.3 ** lags[:, None], "float32": 1e-7 * 1.3 ** lags[:, None]}
    found = Precision(lags, errors, {"bfloat16": 15, "float32": None})
    exact = Precision(lags, {"float32": np.zeros((30, 2))}, {"float32": None})
    with style():
        drawn_figure = figure._draw({"vanilla": found, "identity": exact})
    assert not faults(drawn_figure)
    words = ["bfloat16", "float32", "no digit right", "then exactly zero"]
    assert [*legend_of(drawn_figure)] == words
    left, right = drawn_figure.axes
    assert [axis.get_title(loc="left") for axis in (left, right)] == ["vanilla", "identity"]
    np.testing.assert_allclose(left.lines[1].get_ydata(), errors["float32"][:, 0])
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.usefixtures("eager")
def test_any_gradient_and_method_is_audited():
    """In float32 they differ by rounding; truncation is no rounding error and shows as it is."""
    cell = rnnjax.vanilla(2)
    params, xs = drawn(cell, 1), normal(1, 6, 3, 1)
    for gradient, method in [
        (rnnjax.bptt(), rnnjax.sequential()),
        (rnnjax.checkpointed(2), None),
    ]:
        options = {"gradient": gradient, "method": method, "dtypes": ["float32"]}
        assert precision(cell, params, xs, last, **options).errors["float32"].max() < 1e-5
    cut = precision(cell, params, xs, last, gradient=rnnjax.truncated(3), dtypes=["float64"])
    assert cut.errors["float64"][:3].max() < 1e-12
    assert np.all(cut.errors["float64"][3:] == 1.0)
    assert cut.lost == {"float64": 3}


def test_a_second_call_compiles_nothing(by_xla):
    cell = rnnjax.vanilla(2)
    params, others, xs = drawn(cell, 1), drawn(cell, 1, 0.1), normal(1, 3, 1)

    def cost(carry, ys):
        return ys[-1].sum()

    def found(params):
        return precision(cell, params, xs, cost, dtypes=["float32"]).errors["float32"]

    first = found(params)
    with compiled() as programs:
        np.testing.assert_array_equal(found(params), first)
        assert np.any(found(others) != first)
    assert programs == []


def test_a_cost_may_hold_arrays_and_have_no_hash():
    """∂C/∂x = w is rounded unless it is 1: what is held is read at every call."""

    class Scaled:
        __hash__ = None  # pyright: ignore

        def __init__(self, w):
            self.w = w

        def __call__(self, carry, ys):
            return self.w * ys[-1].sum()

    cell = rnnjax.vanilla(1, "identity")
    params = VanillaParams(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
    scaled = Scaled(1.0)
    for w in (1.0, 1.001):
        scaled.w = w
        held = jax.tree_util.Partial(lambda w, _, ys: (w * ys[-1]).sum(), jnp.float64(w))
        for cost in (held, scaled):
            found = precision(cell, params, jnp.ones((2, 1)), cost, dtypes=["float16"])
            assert np.all((found.errors["float16"] > 0) == (w > 1))


def test_a_cost_that_reads_another_array_is_compiled_again():
    """∂C/∂x = w is rounded unless it is 1."""
    cell = rnnjax.vanilla(1, "identity")
    params = VanillaParams(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
    w = jnp.float64(1.0)

    def cost(carry, ys):
        return (w * ys[-1]).sum()

    xs = jnp.ones((2, 1))
    assert np.all(precision(cell, params, xs, cost, dtypes=["float16"]).errors["float16"] == 0)
    w = jnp.float64(1.001)
    assert np.all(precision(cell, params, xs, cost, dtypes=["float16"]).errors["float16"] > 0)
