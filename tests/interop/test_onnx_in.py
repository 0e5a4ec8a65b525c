"""ONNX's recurrent nodes against onnxruntime and onnx's own evaluator, attribute by attribute."""

import jax
import numpy as np
import pytest
from onnx_models import D, H, by_reference, by_runtime, node_model, onnx

import rnnjax
from rnnjax.interop import from_onnx, to_onnx

LENGTHS, STATE = ("sequence_lens",), ("initial_h",)
ALL = ("sequence_lens", "initial_h", "initial_c")
CASES = [
    ("RNN", {}),
    ("RNN", {"bias": False, "fed": STATE}),
    ("RNN", {"activations": ["Relu"], "direction": "reverse", "fed": ALL}),
    ("RNN", {"activations": ["LeakyRelu", "Affine"], "activation_alpha": [0.0, 1.0],
             "activation_beta": [0.0], "direction": "bidirectional", "fed": ALL}),
    ("LSTM", {}),
    ("LSTM", {"peepholes": True, "fed": ALL}),
    ("LSTM", {"direction": "reverse", "fed": ALL}),
    ("LSTM", {"peepholes": True, "direction": "bidirectional", "fed": ("initial_c",)}),
    ("LSTM", {"bias": False, "direction": "bidirectional", "fed": ALL}),
    ("LSTM", {"input_forget": 1, "fed": ALL}),
    ("GRU", {"fed": ALL}),
    ("GRU", {"linear_before_reset": 1, "fed": ALL}),
    ("GRU", {"linear_before_reset": 1, "direction": "reverse", "fed": STATE}),
    ("GRU", {"direction": "bidirectional", "fed": LENGTHS}),
]  # fmt: skip
CLIPPED = [
    ("RNN", "vanilla(4, dtype='float32')", {}),
    ("RNN", "vanilla(4, 'relu', dtype='float32')", {"activations": ["Relu", "Relu"]}),
    ("LSTM", "lstm(4, dtype='float32')", {}),
    ("LSTM", "peephole_lstm(4, dtype='float32')", {"peepholes": True}),
    ("LSTM", "cifg(4, dtype='float32')", {"input_forget": 1}),
    ("GRU", "gru(4, dtype='float32')", {"linear_before_reset": 1}),
    ("GRU", "gru(4, reset='before', dtype='float32')", {}),
]
REFERENCE = [  # what onnx's evaluator knows of: no lengths, no activations
    ("RNN", {"direction": "bidirectional", "layout": 1, "fed": STATE}),
    ("LSTM", {"peepholes": True, "direction": "bidirectional", "layout": 1, "fed": ALL[1:]}),
    ("LSTM", {"direction": "reverse", "layout": 1}),
    ("GRU", {"linear_before_reset": 1, "direction": "bidirectional", "layout": 1, "fed": STATE}),
    ("GRU", {"direction": "reverse", "fed": STATE}),
]


def run(model, feeds, *, batch_first=False):
    """The node's outputs by rnnjax, in ONNX's layout."""
    cell, params = from_onnx(model)
    layer = isinstance(cell, rnnjax.Layer)
    both = layer and isinstance(params, tuple) and not hasattr(params, "_fields")
    axis = 1 if batch_first else 0
    fed = {k: np.moveaxis(v, axis, 0) for k, v in feeds.items() if k != "sequence_lens"}
    states = [fed[k] for k in ("initial_h", "initial_c") if k in fed]
    carry = None
    if states:
        fields = 2 if carry_type(cell, params, both) is rnnjax.LSTMCarry else 1
        zeros = np.zeros_like(states[0])
        each = [fed.get(k, zeros) for k in ("initial_h", "initial_c")[:fields]]
        make = carry_type(cell, params, both)
        carry = tuple(make(*(state[k] for state in each)) for k in range(len(zeros)))
        carry = carry if both else carry[0]
    options = {"carry": carry, "lengths": feeds.get("sequence_lens")}
    if layer:
        last, ys = cell.apply(params, fed["X"], **options)
    else:
        last, ys = rnnjax.unroll(cell, params, fed["X"], **options)
    lasts = last if both else (last,)
    y = np.stack(np.split(np.asarray(ys), len(lasts), axis=-1), axis=1)
    found = {"Y": y.transpose(2, 0, 1, 3) if batch_first else y}
    for field in lasts[0]._fields:
        found[f"Y_{field}"] = np.stack([getattr(one, field) for one in lasts], axis=axis)
    return found


def carry_type(cell, params, both):
    first = params[0] if both else params
    return {
        "VanillaParams": rnnjax.VanillaCarry,
        "GRUParams": rnnjax.GRUCarry,
    }.get(type(first).__name__, rnnjax.LSTMCarry)


def assert_close(got, want, tolerance):
    assert set(got) == set(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_allclose(got[name], value, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("op", "case"), CASES)
def test_nodes_by_onnxruntime(op, case):
    model, feeds = node_model(op, **case)
    assert_close(run(model, feeds), by_runtime(model, feeds), 1e-5)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("op", "cell", "case"), CLIPPED)
def test_clipped_nodes_by_onnxruntime(op, cell, case):
    case = {"direction": "bidirectional", "fed": ALL, **case}
    for clip in (0.3, 1.5):
        model, feeds = node_model(op, clip=clip, **case)
        layer, params = from_onnx(model)
        both = f"clipped({cell}, {clip})"
        assert repr(layer) == f"bidirectional({both}, {both})"
        want = by_runtime(model, feeds)
        assert_close(run(model, feeds), want, 1e-5)
        for name, value in by_runtime(node_model(op, **case)[0], feeds).items():
            assert np.abs(value - want[name]).max() > 0.05, "a clip that bites"
    again = by_runtime(
        to_onnx(layer, params, lengths=True),
        {"xs": feeds["X"], "lengths": feeds["sequence_lens"]},
    )
    _, ys = layer.apply(params, feeds["X"], lengths=feeds["sequence_lens"])
    np.testing.assert_allclose(again["ys"], ys, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("eager")
def test_the_gradient_of_a_clipped_node():
    model, feeds = node_model("LSTM", peepholes=True, clip=1.0, dtype=np.float64)
    cell, params = from_onnx(model)
    assert cell.rule is None
    report = rnnjax.gradients.check(cell, params, feeds["X"])
    assert report.passed, report


def test_a_clip_beyond_every_number_is_none():
    for clip in (float("inf"), 3.4028234663852886e38):
        assert repr(from_onnx(node_model("RNN", clip=clip)[0])[0]) == "vanilla(4, dtype='float32')"


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("op", "case"), REFERENCE)
def test_nodes_by_onnx_itself(op, case):
    model, feeds = node_model(op, dtype=np.float64, **case)
    got = run(model, feeds, batch_first=bool(case.get("layout")))
    assert_close(got, by_reference(model, feeds), 1e-12)


@pytest.mark.parametrize(
    ("op", "case", "message"),
    [
        ("LSTM", {"clip": -0.5}, r"LSTM node 'Y' has clip=-0\.5: expected a positive bound"),
        ("RNN", {"clip": float("nan")}, r"RNN node 'Y' has clip=nan"),
        ("LSTM", {"input_forget": 1, "peepholes": True}, r"input_forget=1 and peepholes P"),
        ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]},
         r"HardSigmoid, activation_alpha=0\.2, activation_beta=0\.5.*Sigmoid there"),
        ("GRU", {"activations": ["Tanh", "Sigmoid"]}, r"activation Tanh.*Sigmoid there"),
        ("GRU", {"activations": ["Sigmoid"]}, r"activations=\['Sigmoid'\]: expected 2"),
        ("RNN", {"activations": ["Elu"], "activation_alpha": [0.7]}, "Elu, activation_alpha=0.7"),
        ("RNN", {"direction": "sideways"}, "direction='sideways'"),
        ("RNN", {"layout": 2}, "layout=2"),
        ("GRU", {"speed": 2}, "attribute speed, which is unknown"),
        ("LSTM", {"fed": ("W",)}, r"reads W from 'W', which the graph computes"),
        ("RNN", {"dtype": np.float64}, "float64.*jax_enable_x64"),
    ],
)  # fmt: skip
def test_what_no_cell_computes_is_refused_by_name(op, case, message):
    model, _ = node_model(op, **case)
    with jax.enable_x64(False), pytest.raises(ValueError, match=message):
        from_onnx(model)


def test_arrays_that_do_not_fit_are_refused():
    for role, message in (
        ("R", r"W of float32\[1, 16, 2\], expected .*\[1, 20, 2\]"),
        ("B", r"B of float32\[1, 32, 1\]"),
    ):
        model, _ = node_model("LSTM")
        (tensor,) = (t for t in model.graph.initializer if t.name == role)
        array = onnx.numpy_helper.to_array(tensor)
        other = np.zeros((1, 20, 5), np.float32) if role == "R" else array[..., None]
        tensor.CopyFrom(onnx.numpy_helper.from_array(other, role))
        model.graph.node[0].attribute.remove(model.graph.node[0].attribute[0])  # hidden_size
        with pytest.raises(ValueError, match=message):
            from_onnx(model)


def test_models_and_files(tmp_path):
    model, _ = node_model("GRU", name="encoder")
    other, _ = node_model("GRU", name="decoder")
    onnx.save(model, tmp_path / "model.onnx")
    cell, params = from_onnx(tmp_path / "model.onnx")
    assert repr(cell) == "gru(4, reset='before', dtype='float32')"
    for name in ("encoder", "Y_h"):
        same(from_onnx(str(tmp_path / "model.onnx"), name), (cell, params))
    model.graph.node.extend(other.graph.node)
    with pytest.raises(ValueError, match=r"several recurrent nodes: .*'encoder', 'decoder'"):
        from_onnx(model)
    with pytest.raises(ValueError, match=r"'Y_h' is not one recurrent node of .*'encoder'"):
        from_onnx(model, "Y_h")
    same(from_onnx(model, "decoder"), (cell, params))
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"bad\.onnx is not an ONNX model"):
        from_onnx(tmp_path / "bad.onnx")
    with pytest.raises(TypeError, match=r"onnx\.ModelProto or the path .* got 3"):
        from_onnx(3)
    del model.graph.node[:]
    with pytest.raises(ValueError, match="no RNN, LSTM or GRU node"):
        from_onnx(model)


@pytest.mark.usefixtures("eager")
def test_layers_in_a_row_are_one_model():
    """By way of an export, in whose graph Y is squeezed before the next node reads it."""
    layer = rnnjax.stack(rnnjax.lstm(H), rnnjax.gru(3), rnnjax.vanilla(2))
    params = jax.tree.map(
        lambda s: np.linspace(-1, 1.5, s.size, dtype=np.float32).reshape(s.shape),
        jax.eval_shape(lambda key: layer.init(key, D), jax.random.key(0)),
    )
    model = to_onnx(layer, params)
    names = [n.output[0] for n in model.graph.node if n.op_type in ("LSTM", "GRU", "RNN")]
    cell, again = from_onnx(model, names)
    assert repr(cell).count("dtype='float32'") == 3
    assert cell.structure.layers[1].structure.form == ("gru", "after")
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"does not read Y of 'lstm_.*, but the output of GRU"):
        from_onnx(model, (names[0], names[2]))
    with pytest.raises(ValueError, match=r"does not read Y of 'rnn_.*, but the input 'xs'"):
        from_onnx(model, (names[2], names[0]))
    with pytest.raises(TypeError, match="node must be a name, or several in a tuple, got 3"):
        from_onnx(model, (3,))


def between(model, op, kind, **attributes):
    """The model with a node put before X of its node `op`."""
    (at,) = (k for k, node in enumerate(model.graph.node) if node.op_type == op)
    node = model.graph.node[at]
    inserted = onnx.helper.make_node(kind, [node.input[0]], ["between"], **attributes)
    node.input[0] = "between"
    model.graph.node.insert(at, inserted)
    return model


@pytest.mark.parametrize(
    ("kind", "attributes"), [("Transpose", {"perm": [1, 0, 2]}), ("Relu", {}), ("Cast", {"to": 11})]
)
def test_what_lies_between_layers_leaves_them_in_a_row_or_is_refused(kind, attributes):
    cell = rnnjax.stack(rnnjax.lstm(H, dtype="float32"), rnnjax.vanilla(2, dtype="float32"))
    params = cell.init(jax.random.key(0), D)
    model = to_onnx(cell, params)
    names = [n.output[0] for n in model.graph.node if n.op_type in ("LSTM", "RNN")]
    if kind == "Cast":  # to float64: the same numbers
        assert from_onnx(between(model, "RNN", kind, **attributes), names)[0] is cell
        return
    with pytest.raises(ValueError, match=r"does not read Y of 'lstm_.*convert each by itself"):
        from_onnx(between(model, "RNN", kind, **attributes), names)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_reshape_by_the_sizes_of_the_inputs_is_followed(order):
    """y.reshape(x.shape[0], x.shape[1], -1), and with its sizes the other way around."""
    cell = rnnjax.stack(rnnjax.lstm(H, dtype="float32"), rnnjax.vanilla(2, dtype="float32"))
    model = to_onnx(cell, cell.init(jax.random.key(0), D))
    lstm, rnn = (n for n in model.graph.node if n.op_type in ("LSTM", "RNN"))
    make = onnx.helper.make_node
    nodes = [make("Shape", ["xs"], [f"size_{k}"], start=k, end=k + 1) for k in (0, 1)]
    nodes.append(make("Concat", [*(f"size_{k}" for k in order), "rest"], ["sizes"], axis=0))
    nodes.append(make("Reshape", [rnn.input[0], "sizes"], ["between"]))
    rnn.input[0] = "between"
    at = [*model.graph.node].index(rnn)
    for node in reversed(nodes):
        model.graph.node.insert(at, node)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "rest"))
    names = (lstm.output[0], rnn.output[0])
    if order == (0, 1):
        assert from_onnx(model, names)[0] is cell
        return
    with pytest.raises(ValueError, match=r"does not read Y of .*, but its numbers in other places"):
        from_onnx(model, names)


def test_lengths_of_one_layer_alone_are_refused():
    cell = rnnjax.stack(rnnjax.lstm(H, dtype="float32"), rnnjax.vanilla(2, dtype="float32"))
    model = to_onnx(cell, cell.init(jax.random.key(0), D))
    lstm, rnn = (n for n in model.graph.node if n.op_type in ("LSTM", "RNN"))
    lengths = onnx.numpy_helper.from_array(np.array([3, 2], np.int32), "sequence_lens")
    model.graph.initializer.append(lengths)
    lstm.input.append("sequence_lens")
    names = (lstm.output[0], rnn.output[0])
    with pytest.raises(ValueError, match="different sequence_lens, or some of them none"):
        from_onnx(model, names, return_options=True)


def same(got, want):
    assert got[0] is want[0]
    for a, b in zip(got[1], want[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("eager")
def test_constants_of_the_model_become_options():
    model, feeds = node_model("LSTM", direction="bidirectional", fed=ALL)
    constant = onnx.helper.make_node(
        "Constant", [], ["initial_c"],
        value=onnx.numpy_helper.from_array(feeds["initial_c"]),
    )  # fmt: skip
    model.graph.node.insert(0, constant)
    for name in ALL[:2]:
        model.graph.initializer.append(onnx.numpy_helper.from_array(feeds[name], name))
    kept = [i for i in model.graph.input if i.name == "X"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    with pytest.raises(ValueError, match="constants for carry and lengths: pass return_options"):
        from_onnx(model)
    layer, params, options = from_onnx(model, return_options=True)
    (forward, backward), ys = layer.apply(params, feeds["X"], **options)
    want = by_runtime(model, {"X": feeds["X"]})
    np.testing.assert_allclose(ys[..., :4], want["Y"][:, 0], atol=1e-5)
    np.testing.assert_allclose(backward.c, want["Y_c"][1], atol=1e-5)
    assert forward.h.dtype == np.float32
    model, feeds = node_model("GRU", dtype=float, direction="reverse", layout=1, fed=ALL[1:2])
    model.graph.initializer.append(onnx.numpy_helper.from_array(feeds["initial_h"], "initial_h"))
    options = from_onnx(model, return_options=True)[2]
    np.testing.assert_array_equal(options["carry"].h, feeds["initial_h"][:, 0])
    model, feeds = node_model("RNN", fed=ALL[1:2])
    zeros = np.zeros_like(feeds["initial_h"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(zeros, "initial_h"))
    assert from_onnx(model, return_options=True)[2] == {}
