"""What a graph computes of constants and of its inputs' sizes enters a converted cell."""

import jax
import numpy as np
import pytest
from onnx_models import B, D, H, T, by_runtime, node_model, onnx

import rnnjax
from rnnjax.interop import from_onnx, to_onnx

FED = ("initial_h", "initial_c", "sequence_lens")
DRAWN = np.random.default_rng(3)
STATE = DRAWN.standard_normal((1, 1, H)).astype(np.float32)


def computed(op, role, nodes, constants, **options):
    """`(model, feeds)` of a recurrent node one of whose inputs is what these nodes compute."""
    model, feeds = node_model(op, fed=(role,), **options)
    kept = [i for i in model.graph.input if i.name == "X"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for k, (kind, inputs, outputs, attributes) in enumerate(nodes):
        model.graph.node.insert(k, onnx.helper.make_node(kind, inputs, outputs, **attributes))
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return model, {"X": feeds["X"]}


def for_the_batch(role):
    """`role` as STATE expanded to the batch's size, as PyTorch exports `h0.expand(-1, B, -1)`."""
    nodes = [
        ("Shape", ["X"], ["sizes"], {}),
        ("Gather", ["sizes", "at"], ["size"], {}),
        ("Concat", ["one", "size", "one"], ["shape"], {"axis": 0}),
        ("Expand", ["state", "shape"], [role], {}),
    ]
    return nodes, {"at": [1], "one": [1], "state": STATE}


def drawn(model):
    """Random params in float32, none of them zero."""
    shapes = jax.eval_shape(lambda key: model.init(key, D), jax.random.key(0))
    return jax.tree.map(lambda s: DRAWN.standard_normal(s.shape).astype(np.float32), shapes)


def outputs(cell, params, xs, **options):
    if isinstance(cell, rnnjax.Layer):
        return cell.apply(params, xs, **options)[1]
    return rnnjax.unroll(cell, params, xs, **options)[1]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("op", "role"), [("GRU", "initial_h"), ("LSTM", "initial_c")])
def test_a_state_for_any_batch_is_a_learned_carry(op, role):
    model, feeds = computed(op, role, *for_the_batch(role))
    cell, params = from_onnx(model)
    assert repr(cell).startswith(f"learned_carry({op.lower()}(4, ")
    np.testing.assert_array_equal(getattr(params.carry, role[-1]), STATE[0, 0])
    want = by_runtime(model, feeds)["Y"][:, 0]
    np.testing.assert_allclose(outputs(cell, params, feeds["X"]), want, atol=1e-6)
    assert from_onnx(model, return_options=True)[2] == {}


@pytest.mark.usefixtures("eager")
def test_a_state_for_one_batch_size_is_an_option():
    nodes = [("Mul", ["state", "two"], ["both"], {}), ("Tile", ["both", "reps"], ["initial_h"], {})]
    constants = {"state": STATE, "two": np.float32(2), "reps": [1, B, 1]}
    model, feeds = computed("RNN", "initial_h", nodes, constants)
    with pytest.raises(ValueError, match="constants for carry: pass return_options=True"):
        from_onnx(model)
    cell, params, options = from_onnx(model, return_options=True)
    want = by_runtime(model, feeds)["Y"][:, 0]
    np.testing.assert_allclose(outputs(cell, params, feeds["X"], **options), want, atol=1e-6)


@pytest.mark.parametrize("role", ["initial_h", "sequence_lens"])
def test_zeros_and_whole_lengths_of_any_size_are_left_out(role):
    nodes, constants = for_the_batch(role)
    if role == "sequence_lens":  # T for each example, as converters from TensorFlow write
        nodes[1:] = [
            ("Slice", ["sizes", "zero", "one"], ["steps"], {}),
            ("Slice", ["sizes", "one", "two"], ["size"], {}),
            ("Expand", ["steps", "size"], ["long"], {}),
            ("Cast", ["long"], [role], {"to": onnx.TensorProto.INT32}),
        ]
        constants = {"zero": [0], "one": [1], "two": [2]}
    else:
        nodes[-1] = ("ConstantOfShape", ["shape"], [role], {})
        del constants["state"]
        constants["one"] = [1]
    model, _ = computed("GRU", role, nodes, constants)
    cell, _, options = from_onnx(model, return_options=True)
    assert (repr(cell), options) == ("gru(4, reset='before', dtype='float32')", {})


def test_zeros_as_they_were_written_before_opset_9():
    nodes, constants = for_the_batch("initial_h")
    nodes[-1] = ("ConstantFill", ["shape"], ["initial_h"], {"input_as_shape": 1})
    model, _ = computed("GRU", "initial_h", nodes, constants)
    model.opset_import[0].version = 8
    assert repr(from_onnx(model)[0]) == "gru(4, reset='before', dtype='float32')"


def test_weights_that_constants_make_are_read():
    model, _ = computed("GRU", "W", [("Transpose", ["turned"], ["W"], {"perm": [0, 2, 1]})], {
        "turned": np.arange(3.0 * H * D, dtype=np.float32).reshape(1, D, 3 * H)
    })  # fmt: skip
    _, params = from_onnx(model)
    z, r, n = np.split(np.arange(3.0 * H * D).reshape(D, 3 * H), 3, axis=1)
    np.testing.assert_array_equal(params.w_x, np.concatenate([r, z, n], 1))


@pytest.mark.parametrize(
    ("role", "last", "message"),
    [
        ("initial_h", ("Expand", ["sizes", "shape"], "long"), "unlike for each example or size"),
        ("W", ("Expand", ["state", "shape"], "W"), "reads W from 'W', which the graph computes"),
        ("initial_h", ("Nonsense", ["shape"], "initial_h"),
         "GRU node 'Y' reads initial_h from 'initial_h', computed from constants by what"),
    ],
)  # fmt: skip
def test_what_the_sizes_decide_is_refused(role, last, message):
    nodes, constants = for_the_batch(role)
    kind, inputs, output = last
    nodes[-1] = (kind, inputs, [output], {})
    if output == "long":  # a state that counts
        nodes.append(("Cast", ["long"], [role], {"to": onnx.TensorProto.FLOAT}))
    model, _ = computed("GRU", role, nodes, constants)
    with pytest.raises(ValueError, match=message):
        from_onnx(model)


def test_a_state_of_an_input_is_an_argument():
    model, _ = node_model("GRU", fed=("initial_h",))
    model.graph.node.insert(0, onnx.helper.make_node("Tanh", ["given"], ["initial_h"]))
    model.graph.input[1].name = "given"
    cell, _, options = from_onnx(model, return_options=True)
    assert (repr(cell), options) == ("gru(4, reset='before', dtype='float32')", {})


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("model", [
    rnnjax.learned_carry(rnnjax.lstm(3)),
    rnnjax.stack(rnnjax.learned_carry(rnnjax.gru(3)), rnnjax.vanilla(2)),
    rnnjax.bidirectional(rnnjax.learned_carry(rnnjax.gru(3)), rnnjax.learned_carry(rnnjax.gru(3))),
    rnnjax.serial(
        rnnjax.bidirectional(rnnjax.lstm(3), rnnjax.learned_carry(rnnjax.lstm(3))),
        rnnjax.bidirectional(rnnjax.vanilla(2), rnnjax.vanilla(2)),
    ),
], ids=repr)  # fmt: skip
def test_layers_and_learned_carries_come_back(model):
    params = drawn(model)
    exported = to_onnx(model, params)
    names = [n.output[0] for n in exported.graph.node if n.op_type in ("RNN", "LSTM", "GRU")]
    again, same = from_onnx(exported, names)
    assert repr(again).replace(", dtype='float32'", "") == repr(model)
    xs = DRAWN.standard_normal((T, B, D)).astype(np.float32)
    np.testing.assert_allclose(outputs(again, same, xs), outputs(model, params, xs), atol=1e-6)
