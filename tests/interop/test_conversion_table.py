"""Every cell with every framework: the same weights after a round trip, or what would be lost."""

import importlib.util
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from random_weights import randomised

import rnnjax
from rnnjax import interop
from rnnjax.interop._canonical import GATES
from rnnjax.interop._table import HOLDS, LOST, table

PAGE = Path(__file__).parents[2] / "docs" / "weights.md"
D, H = 3, 4
NAMES = {"PyTorch": "torch", "Flax nnx": "nnx", "Flax linen": "linen"}
SIZE = (3, 4)


def cell_of(kind):
    name, option = kind if isinstance(kind, tuple) else (kind, None)
    if name == "conv_lstm":
        return rnnjax.conv_lstm(2, SIZE, (3, 2)), (*SIZE, D)
    if name == "lstm_projected":
        return rnnjax.lstm_projected(H, 2), D
    keyword = {"gru": "reset", "mgu": "variant"}.get(name, "activation")
    options = {} if option is None else {keyword: option}
    return rnnjax.cells.FACTORIES[name](H, dtype="float64", **options), D


def params_of(cell, inputs):
    return randomised(jax.eval_shape(lambda key: cell.init(key, inputs), jax.random.key(0)))


def there_and_back(name, kind, cell, params):
    """Through `to_torch` and `from_torch`, say."""
    write, read = getattr(interop, f"to_{name}"), getattr(interop, f"from_{name}")
    size = {"size": SIZE} if kind == "conv_lstm" else {}
    if name == "torch":
        option = {"nonlinearity": kind[1]} if kind[0] == "vanilla" else {}
        return read(write(cell, params, state_dict=True), **option)
    if name == "linen":
        return read(*write(cell, params), **size)
    return read(write(cell, params), **size)


@pytest.mark.parametrize("framework", [name for name in HOLDS if name != "ONNX"])
def test_every_cell_is_held_or_refused_with_what_would_be_lost(framework):
    name = NAMES.get(framework, framework.lower())
    for kind in GATES:
        cell, inputs = cell_of(kind)
        params = params_of(cell, inputs)
        if kind not in HOLDS[framework]:
            lost = f"to_{name}: {framework} cannot hold .*{re.escape(LOST[kind])} would be lost"
            with pytest.raises(ValueError, match=lost):
                there_and_back(name, kind, cell, params)
            continue
        if name in ("keras", "equinox") and importlib.util.find_spec(name) is None:
            continue
        if name == "nnx" and kind == ("gru", "after"):
            with pytest.raises(ValueError, match=r"params\.b_hn is not zero: it would be lost"):
                there_and_back(name, kind, cell, params)
            params = params._replace(b_hn=np.zeros(H))
        again, same = there_and_back(name, kind, cell, params)
        assert again.structure.form == kind
        atol = 2e-16 if kind in ("lstm", "conv_lstm") else 0  # Haiku's f + 1, and ConvLSTM's
        jax.tree.map(
            lambda a, b, atol=atol: np.testing.assert_allclose(a, b, rtol=0, atol=atol),
            params,
            same,
        )


def test_the_page_has_the_table_of_the_code():
    assert table() in PAGE.read_text("utf-8"), f"put this into docs/weights.md:\n\n{table()}"


@pytest.mark.usefixtures("eager")
def test_the_example_on_the_page_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    namespace = {}
    exec(block, namespace)
    assert [c.structure.form for c in namespace["again"].structure.layers] == [("gru", "after")] * 2


def test_haste_computes_with_its_own_orders():
    rng = np.random.default_rng(0)
    kernel, recurrent = rng.standard_normal((D, 4 * H)), rng.standard_normal((H, 4 * H))
    bias = rng.standard_normal(4 * H)
    x, (h, c) = rng.standard_normal((2, D)), rng.standard_normal((2, 2, H))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    # i, g, f, o, as its forward pass has them
    i, g, f, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    want = sigmoid(o) * np.tanh(new)
    weights = {"kernel": kernel, "recurrent_kernel": recurrent, "bias": bias}
    cell, params = interop.from_haste(weights)
    np.testing.assert_allclose(cell.step(params, rnnjax.LSTMCarry(h, c), x)[1], want, rtol=1e-12)

    weights = {n: w[..., : 3 * H] for n, w in weights.items()}
    weights["recurrent_bias"] = rng.standard_normal(3 * H)
    x_z, x_r, x_g = np.split(x @ weights["kernel"] + weights["bias"], 3, axis=-1)
    products = h @ weights["recurrent_kernel"] + weights["recurrent_bias"]
    h_z, h_r, h_g = np.split(products, 3, axis=-1)
    z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
    want = z * h + (1 - z) * np.tanh(x_g + r * h_g)
    cell, params = interop.from_haste(weights)
    np.testing.assert_allclose(cell.step(params, rnnjax.GRUCarry(h), x)[1], want, rtol=1e-12)
    with pytest.raises(ValueError, match=r"zoneout=0\.1.*rnnjax\.zoneout"):
        interop.from_haste(type("LSTM", (), {"zoneout": 0.1})())


@pytest.mark.parametrize("name", ["equinox", "haiku", "haste"])
def test_frameworks_of_cells_alone_refuse_a_direction(name):
    layer = rnnjax.recurrent(rnnjax.lstm(H), reverse=True)
    with pytest.raises(ValueError, match="runs backwards: the direction would be lost"):
        getattr(interop, f"to_{name}")(layer, params_of(rnnjax.lstm(H), D))


@pytest.mark.parametrize("name", ["linen", "nnx", "keras", "equinox", "haiku", "haste"])
def test_dropout_is_refused_where_it_would_be_lost(name):
    cell = rnnjax.stack(rnnjax.lstm(H), rnnjax.input_dropout(rnnjax.lstm(H), 0.2))
    with pytest.raises(ValueError, match="no dropout beside the weights: it would be lost"):
        getattr(interop, f"to_{name}")(cell, params_of(cell, D))


def test_layers_go_as_lists():
    cell = rnnjax.stack(rnnjax.lstm(H), rnnjax.lstm(2))
    params = params_of(cell, D)
    for name in ("haste", "haiku"):
        made = getattr(interop, f"to_{name}")(cell, params)
        names = {"name": ["lstm", "lstm_1"]} if name == "haiku" else {}
        again, same = getattr(interop, f"from_{name}")(made, **names)
        assert repr(again) == "stack(lstm(4, dtype='float64'), lstm(2, dtype='float64'))"
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-16), params, same)
    with pytest.raises(ValueError, match=r"pass name= .*'lstm', 'lstm_1'"):
        interop.from_haiku(made)


def test_images_of_one_axis_are_refused():
    weights = {"w": np.ones((3, 2, 8)), "b": np.zeros(8)}
    params = {f"conv/{part}": weights for part in ("input_to_hidden", "hidden_to_hidden")}
    with pytest.raises(ValueError, match=r"got a kernel of shape \(3, 2, 2\)"):
        interop.from_haiku(params, "conv", size=(3, 4))


@pytest.mark.parametrize("name", ["haiku", "linen", "onnx", "torch"])
def test_traced_weights_are_refused(name):
    if name == "onnx":
        pytest.importorskip("onnx")
    cell = rnnjax.vanilla(2, "relu")
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    with pytest.raises(TypeError, match=r"w_x is traced: convert weights outside of jit"):
        jax.eval_shape(lambda p: getattr(interop, f"to_{name}")(cell, p), params)


def test_activations_that_no_cell_has_are_refused():
    import flax.linen as nn

    for module, message in (
        (nn.SimpleCell(2, activation_fn=nn.gelu), "SimpleCell.activation_fn is .*gelu.* be lost"),
        (nn.LSTMCell(2, gate_fn=nn.tanh), "LSTMCell.gate_fn is tanh, and sigmoid in the cell"),
        (nn.SimpleCell(2, residual=True), "residual=True"),
        (nn.ConvLSTMCell(2, (3, 3), strides=(2, 2)), r"strides=\(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            interop.from_linen(module, {})
