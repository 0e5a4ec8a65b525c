"""`watch`: values known in closed form or from the other measures, and where they are written."""

import io
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flow_problems import drawn, normal
from looked_at import faults, legend_of
from rich.console import Console

import rnnjax
from rnnjax import flow
from rnnjax._files import json_line
from rnnjax.cells import VanillaParams
from rnnjax.experiments.report import (
    _eigenvalues as eigenvalues_figure,
    _watch as figure,
    style,
    write_eigenvalues,
)
from rnnjax.flow import _live
from rnnjax.flow._spectral import spectra

T, B = 7, 3


def last(carry, ys):
    del carry
    return jnp.sum(ys[-1])


def linear(weight, activation="identity"):
    """h_t = φ(w h_{t-1} + x_t)."""
    params = VanillaParams(jnp.ones((1, 1)), jnp.full((1, 1), weight), jnp.zeros(1))
    return rnnjax.vanilla(1, activation), params


@pytest.mark.usefixtures("eager")
def test_a_linear_unit_forgets_at_the_rate_of_its_weight():
    cell, params = linear(1e-5)
    params = jax.tree.map(jnp.float32, params)
    weight = float(params.w_h[0, 0])
    watch = flow.watch(cell, jnp.ones((40, 2, 1), jnp.float32), last, every=3)
    assert [watch(step, params) == {} for step in range(4)] == [False, True, True, False]
    assert [entry["step"] for entry in watch.history] == [0, 3]
    watched = flow.read_watch(watch.history)
    assert watched.lags.tolist()[:9] == [0, 1, 2, 3, 4, 6, 8, 12, 16]
    assert watched.lags[-1] == 39  # 1e-195: no float32
    want = watched.lags * np.log10(weight)
    np.testing.assert_allclose(watched.log10_norms[""][0], want, rtol=1e-12)
    np.testing.assert_allclose(watched.values.pop("lyapunov"), np.log(weight), rtol=1e-12)
    assert watched.eigenvalues["eigenvalues"].tolist() == [[weight], [weight]]
    assert {name: column[0] for name, column in watched.values.items()} == {
        "spectral_norm": weight,
        "spectral_radius": weight,
    }
    assert "without saturation, since the gates of vanilla(1, 'identity')" in repr(watch)


@pytest.mark.usefixtures("eager")
def test_weights_are_read_in_every_form():
    cell, params = linear(0.5)
    xs = normal(1, T, B, 1)
    single = jax.tree.map(lambda w: np.asarray(w, "float32"), params)
    forms = [single, single._asdict(), params._asdict(), jax.tree.map(np.ndarray.tolist, single)]
    forms += [single._replace(w_h=[[0.5]])]
    alone = flow.watch(cell, xs, last)
    part = flow.watch(lambda net: flow.Recurrence(cell, net["rnn"], xs, last, None, None))
    for form in forms:
        np.testing.assert_allclose(alone.measure(form)["lyapunov"], np.log(0.5), rtol=1e-12)
    for form in forms[:3]:
        found = part.measure({"rnn": form, "out": jnp.ones(2)})
        np.testing.assert_allclose(found["lyapunov"], np.log(0.5), rtol=1e-12)


@pytest.mark.usefixtures("eager")
def test_examples_that_are_not_read_are_left_out():
    """Of three, one is empty and one has a weight of zero in the cost."""
    cell, params = linear(0.1)
    read = lambda carry, ys: jnp.sum(carry.h[:, 0] * jnp.array([1.0, 0.0, 1.0]))  # noqa: E731
    watch = flow.watch(cell, jnp.ones((4, 3, 1)), read, lengths=jnp.array([3, 4, 0]))
    found = watch.measure(params)
    norms = [found[f"log10_gradient_norm_lag_{lag}"] for lag in range(4)]
    np.testing.assert_allclose(norms, [0.0, -1.0, -2.0, np.nan], atol=1e-12)
    found = flow.watch(cell, jnp.ones((4, 3, 1)), lambda _, ys: 0.0 * ys.sum()).measure(params)
    assert found["log10_gradient_norm_lag_0"] == found["log10_gradient_norm_lag_3"] == -np.inf
    with pytest.raises(ValueError, match="xs has T = 0 steps: no error can travel back"):
        flow.watch(cell, jnp.ones((0, 3, 1)), last).measure(params)


@pytest.mark.usefixtures("eager")
def test_layers_and_lengths_are_measured_as_alone():
    """An LSTM below a tanh net: gates by hand in NumPy, the rest by the other measures."""
    cell = rnnjax.stack(rnnjax.lstm(4), rnnjax.vanilla(2))
    params, xs, lengths = drawn(cell, 2, 2.0), normal(1, T, B, 2), np.array([T, 4, 2])
    found = flow.watch(cell, xs, last_read, lengths=lengths).measure(params)
    recording = flow.record(cell, params, xs, last_read, lengths=lengths, last=True)
    for k, carry_ct in enumerate(recording.carry_ct):
        norms = flow.gradient_norms(flow.Recording(recording.cost, carry_ct, 1, recording.reads))
        for lag in (0, 1, 3, 6):
            at = [norms[n - 1 - lag, b] for b, n in enumerate(lengths) if n > lag]
            name = f"layer_{k + 1}/log10_gradient_norm_lag_{lag}"
            np.testing.assert_allclose(found[name], np.log10(np.median(at)), rtol=1e-10)
    below, ys = params[0], rnnjax.unroll(cell.structure.layers[0], params[0], xs)[1]
    before = np.concatenate([np.zeros((1, B, 4)), ys[:-1]])
    z = np.asarray(xs) @ np.asarray(below.w_x) + before @ np.asarray(below.w_h)
    z += np.asarray(below.b)
    valid = np.arange(T)[:, None] < lengths
    for gate, at in (("i", 0), ("f", 1), ("o", 3)):
        a = 1 / (1 + np.exp(-z[..., 4 * at : 4 * at + 4][valid]))
        np.testing.assert_allclose(found[f"layer_1/closed_{gate}"], np.mean(a < 0.1), rtol=1e-12)
        np.testing.assert_allclose(found[f"layer_1/open_{gate}"], np.mean(a > 0.9), rtol=1e-12)
    flat = np.abs(np.tanh(z[..., 8:12][valid])) > 0.8
    np.testing.assert_allclose(found["layer_1/saturated_g"], flat.mean(), rtol=1e-12)
    exponents = flow.lyapunov_spectrum(rnnjax.vanilla(2), params[1], ys, 1, lengths=lengths)
    np.testing.assert_allclose(found["layer_2/lyapunov"], exponents.mean(), rtol=1e-10)
    block = np.asarray(below.w_h)[:, 4:8]
    np.testing.assert_allclose(found["layer_1/spectral_norm_f"], np.linalg.norm(block, 2))
    radius = np.abs(np.linalg.eigvals(block)).max()
    np.testing.assert_allclose(found["layer_1/spectral_radius_f"], radius)
    eigenvalues = flow.read_watch([{"step": 0, **found}]).eigenvalues["layer_1/eigenvalues_f"][0]
    assert np.all(np.diff(np.abs(eigenvalues)) <= 1e-12)
    np.testing.assert_allclose(np.poly(eigenvalues), np.poly(block), atol=1e-12)
    assert [*found].index("layer_1/spectral_radius_o") < [*found].index("layer_2/lyapunov")


@pytest.mark.usefixtures("eager")
def test_episodes_are_measured_from_their_resets():
    """Lags behind a reset are of another episode; everything else is as of the episodes alone."""
    cell = rnnjax.stack(rnnjax.lstm(2), rnnjax.vanilla(2))
    params, xs = drawn(cell, 2, 2.0), normal(1, T, 2, 2)
    resets = np.zeros((T, 2), bool)
    resets[3] = True
    found = flow.watch(cell, xs, last, resets=resets).measure(params)
    first, second = (flow.watch(cell, part, last).measure(params) for part in (xs[:3], xs[3:]))
    for name, value in second.items():
        if "lag" in name:
            np.testing.assert_allclose(found[name], value, rtol=1e-10)
        elif name.rpartition("/")[2].startswith(("closed", "open", "saturated")):
            whole = (3 * first[name] + 4 * value) / T
            np.testing.assert_allclose(found[name], whole, rtol=1e-12)
    assert np.isnan(found["layer_1/log10_gradient_norm_lag_6"])
    line = _live.line_of({"step": 0, **found})
    assert line.count("times as large 3 steps back") == 2
    below = rnnjax.unroll(cell.structure.layers[0], params[0], xs, resets=resets)[1]
    exponents = flow.lyapunov_spectrum(rnnjax.vanilla(2), params[1], below, 1, resets=resets)
    np.testing.assert_allclose(found["layer_2/lyapunov"], exponents.mean(), rtol=1e-10)


def last_read(carry, ys):
    del ys
    return jnp.sum(carry[1].h ** 2)


@pytest.mark.usefixtures("eager")
def test_a_net_around_the_cell_and_a_gradient_of_zero():
    """ReLU units that are inactive pass nothing on: -inf, not an error."""
    cell, params = linear(0.5, "relu")
    xs = -jnp.ones((4, 2, 1)).at[-1].set(-2.0)

    def net(weights):
        def cost(carry, ys):
            return jnp.sum(ys[-1] * weights["out"])

        return flow.Recurrence(cell, weights["cell"], weights["scale"] * xs, cost)

    watch = flow.watch(net)
    found = watch.measure({"cell": params, "out": 1.0, "scale": 1.0})
    assert found["log10_gradient_norm_lag_3"] == found["lyapunov"] == -np.inf
    assert found["inactive"] == 0.75  # of the last step, 2 > 0
    assert watch.measure({"cell": params, "out": 1.0, "scale": -1.0})["inactive"] == 0.25
    diverged = watch.measure({"cell": params, "out": 1.0, "scale": jnp.nan})
    assert np.isnan(diverged["inactive"])


@pytest.mark.usefixtures("eager")
def test_it_is_written_shown_and_read_back(tmp_path, capsys):
    cell, params = linear(2.0)
    path = tmp_path / "new" / "flow.jsonl"
    for steps in (range(3), range(1, 4)):  # the second run resumes from step 1
        with flow.watch(
            cell, jnp.ones((3, 1)), last, every=1, to=path, tensorboard=tmp_path, live=True
        ) as watch:
            for step in steps:
                watch(step, params)
    assert len(path.read_text().splitlines()) == 6
    path.write_text(path.read_text() + '{"step": 9, "lyap')  # a run that was killed
    watched = flow.read_watch(path)
    assert watched.steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(watched.log10_norms[""], [[0, np.log10(2), np.log10(4)]] * 4)
    assert "layer_1" not in watched.log10_norms
    assert any(each.stat().st_size for each in tmp_path.glob("events*"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == ("step 0: λ₁ 0.693, ‖∂C/∂s‖ 10^0.602 times as large 2 steps back, ρ(W_h) 2")
    console = Console(width=80, file=io.StringIO())
    history = [{"step": k, "layer_1/lyapunov": value} for k, value in enumerate((-1.0, -np.inf, 1))]
    console.print(_live.table_of(history, ["spectra, since"]))
    shown = console.file.getvalue()
    assert "layer 1: λ₁ (nats a step)" in shown
    assert "−1" in shown
    assert "▁·█" in shown
    assert "not measured: spectra, since" in shown


@pytest.mark.usefixtures("eager")
def test_no_spectra_of_weights_that_a_wrapped_step_may_change():
    """By Dale's law, the matrix that recurs is s |w_h|, and that of the params says nothing."""
    signs = np.array([[1.0], [-1.0]])

    def dale(step):
        return lambda params, carry, x_t: step(
            params._replace(w_h=signs * jnp.abs(params.w_h)), carry, x_t
        )

    inside = rnnjax.vanilla(2)
    cell = rnnjax.wrap(inside, dale)
    params, xs = drawn(inside, 1), normal(1, T, B, 1)
    watch = flow.watch(rnnjax.stack(cell, rnnjax.vanilla(2)), xs, last)
    found = watch.measure((params, drawn(inside, 2)))
    assert not [name for name in found if name.startswith("layer_1/") and "spectral" in name]
    assert not [name for name in found if name.startswith("layer_1/eigen")]
    assert "layer_2/spectral_norm" in found
    said = "layer 1: spectra, since .* may change w_h before the state is multiplied by it"
    assert re.search(said, watch.left_out[1])
    stated = rnnjax.Cell(*inside[:3], None, rnnjax.Structure(mixing=("w_h",)))
    assert spectra(stated, params, False)["spectral_norm"] == np.linalg.norm(params.w_h, 2)
    assert spectra(rnnjax.residual(cell), params, None) == {}
    masked = rnnjax.Around(inside, own=lambda p: p._replace(w_h=3 * p.w_h))
    around = rnnjax.Cell(*inside[:3], None, rnnjax.Structure(around=masked))
    found = spectra(around, params, False)["spectral_norm"]
    np.testing.assert_allclose(found, 3 * np.linalg.norm(params.w_h, 2))


COMBINED = {
    "residual": lambda: rnnjax.residual(rnnjax.vanilla(2)),
    "input_dropout": lambda: rnnjax.input_dropout(rnnjax.vanilla(2), 0.1),
    "recurrent_dropout": lambda: rnnjax.recurrent_dropout(rnnjax.vanilla(2), 0.1),
    "zoneout": lambda: rnnjax.zoneout(rnnjax.residual(rnnjax.vanilla(2)), h=0.1),
    "another rule": lambda: rnnjax.vanilla(2)._replace(rule=None),
    "learned_carry": lambda: rnnjax.learned_carry(rnnjax.zoneout(rnnjax.vanilla(2), h=0.1)),
    "fixed_dt": lambda: rnnjax.residual(rnnjax.fixed_dt(rnnjax.ctrnn(2), 0.5)),
}


@pytest.mark.parametrize("name", COMBINED)
def test_spectra_through_combinators_that_leave_the_weights_as_they_are(name):
    cell = COMBINED[name]()
    params = drawn(cell, 2)
    w_h = np.asarray(getattr(params, "cell", params).w_h)
    found = spectra(cell, params, True)
    assert found["spectral_norm"] == pytest.approx(np.linalg.norm(w_h, 2), rel=1e-12)
    radius = np.abs(np.linalg.eigvals(w_h)).max()
    assert found["spectral_radius"] == pytest.approx(radius, rel=1e-12)


def test_eigenvalues_are_kept_of_small_layers_or_on_request():
    small, large = (spectra(rnnjax.vanilla(n), {"w_h": np.eye(n)}, None) for n in (64, 65))
    assert small["eigenvalues"] == [[1.0, 0.0]] * 64
    assert "eigenvalues" not in large
    params = {"w_h": np.array([[0.0, -3.0], [3.0, 0.0]])}
    turned = spectra(rnnjax.vanilla(2), params, True)["eigenvalues"]
    np.testing.assert_allclose(turned, [[0.0, 3.0], [0.0, -3.0]], rtol=1e-12)
    assert "eigenvalues" not in spectra(rnnjax.vanilla(2), params, False)
    broken = spectra(rnnjax.vanilla(2), {"w_h": np.full((2, 2), np.nan)}, None)
    entries = [{"step": 0}, {"step": 1, **json.loads(json_line(broken))}, {"step": 2, **small}]
    rows = flow.read_watch(entries).eigenvalues["eigenvalues"]
    assert np.isnan(rows[:2]).all()
    assert (rows[2] == 1).all()


def test_what_is_not_a_measurement_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"step": 0}\n[1]\n')
    with pytest.raises(ValueError, match=r"x\.jsonl, line 2: expected an object with a step, got"):
        flow.read_watch(path)
    path.write_text('{"step": 1, "cost": 0.1}\n')
    with pytest.raises(ValueError, match=r"no measurements in .*--flow-every N"):
        flow.read_watch(path)
    with pytest.raises(TypeError, match="source must be a path, or entries"):
        flow.read_watch(3)
    cell, params = linear(1.0)
    with pytest.raises(TypeError, match=r"watch\(cell, xs, cost\) needs inputs xs"):
        flow.watch(cell)
    with pytest.raises(TypeError, match=r"net is a function: .* called first, as in rnnjax.lstm"):
        flow.watch(rnnjax.lstm, jnp.ones((3, 1)), last)
    with pytest.raises(TypeError, match=r"params -> flow\.Recurrence\(cell"):
        flow.watch(lambda params: None).measure(params)
    with pytest.raises(TypeError, match="eigenvalues must be True or False"):
        flow.watch(cell, jnp.ones((3, 1)), last, eigenvalues="all")
    with pytest.raises(ValueError, match="no eigenvalues were measured: of layers above 64"):
        write_eigenvalues([{"step": 0, "lyapunov": 1.0}], tmp_path / "x.png")
    with pytest.raises(ValueError, match="every must be at least 1"):
        flow.watch(cell, jnp.ones((3, 1)), last, every=0)


def measured(layers, gates="ifgo"):
    """Twelve measurements in which the gradient of every layer first vanishes and then explodes."""
    history = []
    for step in range(0, 120, 10):
        entry = {"step": step}
        for layer in layers:
            for lag in (0, 1, 2, 4, 8, 15):
                entry[f"{layer}log10_gradient_norm_lag_{lag}"] = lag * (step - 60) / 100
            entry[f"{layer}lyapunov"] = (step - 60) / 50
            for k, gate in enumerate(gates):
                entry[f"{layer}spectral_radius_{gate}"] = 1 + k * step / 100
                entry[f"{layer}open_{gate}"] = k * step / 500
                entry[f"{layer}closed_{gate}"] = 0.0 if gate == "f" else step / 300
        history.append(entry)
    return flow.read_watch(json.loads(json.dumps(history)))


def test_the_figure_can_be_read():
    with style():
        drawn_figure = figure._draw(measured(("layer_1/", "layer_2/")))
    assert not faults(drawn_figure)
    assert len(drawn_figure.axes) == 5 * 2 + 1
    assert {"forget gate f", "input gate i", "output gate o"} <= legend_of(drawn_figure).keys()
    top = drawn_figure.axes[0]
    image = top.collections[0].get_array()
    np.testing.assert_allclose(image[-1], 15 * (np.arange(0, 120, 10) - 60) / 100)
    assert [text.get_text() for text in top.get_yticklabels()][-1] == "15"


def test_gates_that_are_open_closed_and_saturated_have_a_panel_each():
    """A tanh candidate is no gate: 60 % of it saturated are not open. Tiny shares say nothing."""
    entries = [
        {
            "step": step,
            "log10_gradient_norm_lag_0": 0.0,
            "log10_gradient_norm_lag_1": -1.0,
            "lyapunov": -0.1,
            "open_f": 0.3,
            "closed_f": 0.2,
            "open_i": 0.0,
            "closed_i": 0.4,
            "saturated_g": 0.3 * step,
            "inactive": 0.009,
        }
        for step in (0, 1, 2)
    ]
    with style():
        drawn_figure = figure._draw(flow.read_watch(entries))
    assert not faults(drawn_figure)
    panels = {
        axis.get_ylabel(): [[*line.get_ydata()] for line in axis.lines]
        for axis in drawn_figure.axes
    }
    shares = {label: lines for label, lines in panels.items() if "%" in label}
    assert shares == {
        "Open gates\n(% above 0.9)": [[30.0] * 3, [0.0] * 3],
        "Closed gates\n(% below 0.1)": [[20.0] * 3, [40.0] * 3],
        "Saturated\n(% |tanh| > 0.8)": [[0.0, 30.0, 60.0]],
    }
    words = {"units or whole layer", "forget gate f", "input gate i", "candidate (LSTM: g, GRU: n)"}
    assert legend_of(drawn_figure).keys() == words


def test_the_figure_of_eigenvalues_can_be_read():
    """A GRU below a tanh net: a row each, of the first measurement and the last."""
    names = [*(f"layer_1/eigenvalues_{gate}" for gate in "rzn"), "layer_2/eigenvalues"]
    entries = [
        {"step": step, **{name: [[k, step], [k, -step]] for k, name in enumerate(names)}}
        for step in (0, 1, 2)
    ]
    with style():
        drawn_figure = eigenvalues_figure._draw(flow.read_watch(entries))
    assert not faults(drawn_figure)
    assert [*legend_of(drawn_figure)] == ["step 0", "step 2", "|λ| = 1"]
    shown = [axis for axis in drawn_figure.axes if axis.get_visible()]
    assert [axis.get_title("left") for axis in shown] == [
        *("Layer 1, reset gate r", "Layer 1, update gate z", "Layer 1, candidate n", "Layer 2")
    ]
    for k, axis in enumerate(shown):
        for line, step in zip(axis.lines[1:], (0, 2), strict=True):
            assert line.get_xydata().tolist() == [[k, step], [k, -step]]
    assert [axis.get_xlabel() for axis in shown] == ["", "Re λ", "Re λ", "Re λ"]


def test_units_without_gates_and_no_gradient_are_drawn_too():
    dead = [
        {"step": k, "log10_gradient_norm_lag_0": "-inf", "inactive": 1.0, "lyapunov": "-inf"}
        for k in (0, 1)
    ]
    dead.append({**dead[0], "step": 2, "inactive": "nan"})  # the net has diverged
    with style():
        drawn_figure = figure._draw(flow.read_watch(dead))
    assert not faults(drawn_figure)
    assert [text.get_text() for text in drawn_figure.axes[0].texts] == ["no gradient"]
    (shares,) = [axis for axis in drawn_figure.axes if axis.get_ylabel() == "Inactive units\n(%)"]
    np.testing.assert_allclose(shares.lines[0].get_ydata(), [100, 100, np.nan])
