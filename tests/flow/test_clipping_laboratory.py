"""What clips do to gradients that are known, the wall of a one-unit net, and their figures."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compiled
from looked_at import faults, legend_of

import rnnjax
from rnnjax import bptt
from rnnjax.cells import VanillaParams
from rnnjax.experiments.report import _clipping as figure, style, write_surface
from rnnjax.flow import Clipping, clipped_steps, clipping
from rnnjax.gradients import clip_by_norm, clip_by_value

WALL = Path(__file__).parents[2] / "examples" / "clipping_wall.py"
PARAMS = {"a": jnp.array([0.3, 0.4]), "b": jnp.array(2.0)}
GRADIENTS = {  # of the loss <params, item>: the items themselves
    "a": jnp.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]),
    "b": jnp.array([12.0, 0.0, 0.0]),
}
CLIPS = {  # name -> the clip, and what it makes of the first gradient, (3, 4), 12 of norm 13
    "none": (optax.identity(), ([3.0, 4.0], 12.0)),
    "global norm": (optax.clip_by_global_norm(6.5), ([1.5, 2.0], 6.0)),
    "value": (optax.clip(3.5), ([3.0, 3.5], 3.5)),
    "leaf": (optax.clip_by_block_rms(6.0), ([3.0, 4.0], 6.0)),
    "adaptive": (optax.adaptive_grad_clip(2.0), ([0.6, 0.8], 4.0)),  # of weights of norms 0.5, 2
}


def inner(params, item, gradient):
    del gradient
    return jnp.vdot(params["a"], item["a"]) + params["b"] * item["b"]


@pytest.fixture(scope="module")
def known():
    return clipping(inner, PARAMS, GRADIENTS, {name: clip for name, (clip, _) in CLIPS.items()})


@pytest.mark.parametrize("name", CLIPS)
def test_gradients_that_are_known(known, name):
    a, b = CLIPS[name][1]
    clipped, true = np.array([*a, b]), np.array([3.0, 4.0, 12.0])
    norm = np.linalg.norm(clipped)
    assert known.fires[name].tolist() == [name != "none", False, False]
    np.testing.assert_allclose(known.norm, [13.0, 0.5, 0.0])
    np.testing.assert_allclose(known.ratio[name], [norm / 13, 1.0, np.nan])
    np.testing.assert_allclose(known.cosine[name], [clipped @ true / (13 * norm), 1.0, np.nan])


def test_the_table_says_how_often_and_how_much(known):
    rows = str(known._replace(norm=np.array([13.0, 0.5, np.inf]))).splitlines()
    assert rows[0] == (
        "3 gradients, norm 6.8 (median) to 13 (largest); left out: 1 that are not finite"
    )
    assert [row.split()[0] for row in rows[2:]] == ["none", "global", "value", "leaf", "adaptive"]
    assert rows[3].split() == ["global", "norm", "50%", "1.000", "(1.000)", "0.500", "(0.500)"]
    assert rows[2].split() == ["none", "0%", "-", "-"]


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_gradients_whose_squares_are_out_of_range(size):
    a = np.float32(size) * jnp.array([[3.0, 4.0]], jnp.float32)
    cut = optax.scale_by_sign()  # (1, 1): a cosine of 7 / 5 √2
    found = clipping(lambda p, x, _: jnp.vdot(p, x), a[0], a, {"sign": cut})
    np.testing.assert_allclose(found.norm, [5 * size], rtol=1e-6)
    np.testing.assert_allclose(found.cosine["sign"], [7 / np.sqrt(50)], rtol=1e-6)
    np.testing.assert_allclose(found.ratio["sign"], [np.sqrt(2) / (5 * size)], rtol=1e-6)
    assert found.fires["sign"].all()


def test_clips_in_the_loop(eager):
    """h = w h + x over 3 steps and C = c h_3: δ_3 = c, δ_{t-1} = w clip(δ_t), ∂C/∂b = Σ clip(δ)."""
    cell = rnnjax.vanilla(1, "identity")
    params = VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), jnp.zeros(1))

    def loss(b, scale, gradient):
        own = params._replace(b=b)
        carry, _ = rnnjax.unroll(cell, own, jnp.zeros((3, 1)), gradient=gradient)
        return scale * jnp.sum(carry.h)

    clips = {"value": bptt(clip_by_value(3.0)), "norm": bptt(clip_by_norm(3.0))}
    found = clipping(loss, jnp.zeros(1), jnp.array([0.5, 1.0, -1.0]), clips)
    np.testing.assert_allclose(found.norm, [3.5, 7.0, 7.0])
    for name in clips:
        assert found.fires[name].tolist() == [False, True, True]
        np.testing.assert_allclose(found.ratio[name], [1.0, 6 / 7, 6 / 7])


def test_steps_at_which_a_clip_in_the_loop_fires(eager):
    """h = w h + x: δ is w^lag; of two such layers, (lag + 1) w^lag in the lower before clipping."""
    cell = rnnjax.vanilla(1, "identity")
    params = VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), jnp.zeros(1))
    xs, lengths = jnp.zeros((5, 2, 1)), jnp.array([5, 3])
    resets = jnp.zeros((5, 2), bool).at[2, 0].set(True)
    last = lambda carry, ys: jnp.sum(carry.h)  # noqa: E731
    found = clipped_steps(cell, params, xs, last, clip_by_norm(3.0), lengths=lengths)
    assert found.T.tolist() == [[True, True, True, False, False], [True] + [False] * 4]
    found = clipped_steps(cell, params, xs, last, clip_by_norm(3.0), lengths=lengths, resets=resets)
    assert found.T.tolist() == [[False, False, True, False, False], [True] + [False] * 4]
    both = rnnjax.stack(cell, cell)
    found = clipped_steps(
        both, (params, params), xs[:, 0], lambda _, ys: ys[-1].sum(), clip_by_value(3.0)
    )
    assert found.tolist() == [True, True, True, True, False]
    with pytest.raises(ValueError, match="a clip returns an array of the shape and dtype"):
        clipped_steps(cell, params, xs, last, jnp.sum)
    bare = rnnjax.Cell(cell.init, cell.initial_carry, cell.step)
    with pytest.raises(ValueError, match="needs a cell with a hand-derived rule"):
        clipped_steps(bare, params, xs, last, clip_by_norm(3.0))


def test_steps_of_a_clip_compile_once():
    cell = rnnjax.vanilla(2)
    params, xs = cell.init(jax.random.key(0), 1), jnp.ones((3, 1))
    traced = []

    def clip(delta):
        traced.append(delta)
        return delta

    for _ in range(3):
        found = clipped_steps(cell, params, xs, lambda _, ys: ys[-1].sum(), clip)
        assert found.tolist() == [False] * 3
    assert len(traced) == 1


def test_a_second_call_compiles_nothing(by_xla):
    def loss(params, item, gradient):
        return jnp.vdot(params, item)

    clips = {"norm": optax.clip_by_global_norm(1.0), "loop": rnnjax.bptt(clip_by_norm(1.0))}
    data = jnp.array([[3.0, 4.0], [0.6, 0.0]])
    clipping(loss, jnp.ones(2), data, clips)
    params, data = 2 * jnp.ones(2), 2 * data
    with compiled() as programs:
        found = clipping(loss, params, data, clips)
    assert programs == []
    np.testing.assert_allclose(found.norm, [10, 1.2])
    assert [*found.fires] == ["norm", "loop"]


def test_a_loss_that_reads_an_object_which_is_changed_is_compiled_again(by_xla):
    head = {"w": 1.0}

    def loss(params, item, gradient):
        return head["w"] * jnp.vdot(params, item)

    for w in (1.0, 3.0):
        head["w"] = w
        found = clipping(loss, jnp.ones(2), jnp.ones((1, 2)), {"none": optax.identity()})
        np.testing.assert_allclose(found.norm, [w * 2**0.5])


def test_params_of_every_step(eager):
    both = jnp.array([[1.0, 1.0], [2.0, 2.0]])
    quadratic = lambda params, item, _: jnp.sum(params**2 * item)  # noqa: E731
    found = clipping(
        quadratic, both, jnp.array([0.5, 2.0]), {"by value": optax.clip(1.5)}, params_too=True
    )
    np.testing.assert_allclose(found.norm, [np.sqrt(2), np.sqrt(128)])
    assert found.fires["by value"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clips": {}}, ValueError, "clips is empty: give at least one"),
        ({"clips": optax.clip(1.0)}, TypeError, "clips must be a mapping such as"),
        (
            {"clips": {"x": 1.0}},
            TypeError,
            r"clips\['x'\], if not an optax transformation",
        ),
        ({"data": {"a": jnp.ones((2, 2)), "b": jnp.ones(3)}}, ValueError, "of one length N ≥ 1"),
        ({"params": {"a": jnp.ones(2, int)}}, TypeError, "params must be .* floating-point"),
    ],
)
def test_wrong_calls_say_what_to_do(change, error, message):
    call = {"params": PARAMS, "data": GRADIENTS, "clips": {"x": optax.clip(1.0)}, **change}
    with pytest.raises(error, match=message):
        clipping(inner, **call)


@pytest.fixture(scope="module")
def wall():
    return runpy.run_path(str(WALL))


@pytest.mark.parametrize("point", [(5.5, -2.6), (4.0, -2.0)])
def test_the_one_unit_net_in_closed_form(wall, eager, point):
    """dx_t/dw = σ(x_{t-1}) + w σ'(x_{t-1}) dx_{t-1}/dw, and likewise by b with 1."""
    (w, b), x, dw, db = point, 0.5, 0.0, 0.0
    for _ in range(8):
        s = 1 / (1 + np.exp(-x))
        x, dw, db = w * s + b, s + w * s * (1 - s) * dw, 1 + w * s * (1 - s) * db
    h = 1 / (1 + np.exp(-x))
    slope = 2 * (h - 0.7) * h * (1 - h)
    value, grads = jax.value_and_grad(lambda p: wall["loss"](p, 8))(tuple(map(jnp.asarray, point)))
    np.testing.assert_allclose(value, (h - 0.7) ** 2, rtol=1e-12)
    np.testing.assert_allclose(grads, [slope * dw, slope * db], rtol=1e-12)


def test_figures_can_be_read(known):
    x, y = np.linspace(0, 1, 5), np.linspace(-1, 1, 4)
    points = np.array([[0.5, 0.0, 0.2], [0.6, 0.1, 0.1], [3.0, 0.2, 0.0]])
    with style():
        clipped = figure._draw_clipping(known)
        surface = figure._draw_surface(
            x, y, x[:, None] + y[None] ** 2, {"descent": points}, ("w", "b", "Loss")
        )
        empty = figure._draw_clipping(Clipping(np.array([np.nan]), {}, {}, {}))
    assert not faults(clipped)
    assert [*legend_of(clipped)][1] == "global norm (50%)"
    np.testing.assert_allclose(clipped.axes[0].lines[1].get_ydata(), [6.5, 0.5])
    assert [*legend_of(surface)] == ["descent"]
    np.testing.assert_allclose(surface.axes[1].lines[0].get_xdata(), [0.5, 0.6])
    np.testing.assert_allclose(surface.axes[1].texts[0].xy, [1.0, 0.1 + 0.1 / 6])
    assert "no gradient that is finite" in empty.axes[0].texts[0].get_text()


def test_surfaces_of_wrong_shapes_are_refused(tmp_path):
    x = np.arange(3.0)
    with pytest.raises(ValueError, match=r"values must be \[n, m\] for x \[n\] and y \[m\]"):
        write_surface(x, x, np.zeros((3, 2)), tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"paths\['sgd'\] must be \[steps, 3\]"):
        write_surface(x, x, np.zeros((3, 3)), tmp_path / "x.png", paths={"sgd": np.zeros((4, 2))})
