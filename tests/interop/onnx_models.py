"""Models of one recurrent node with random weights, and what onnxruntime and onnx say of them."""

import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import helper, numpy_helper  # noqa: E402

T, B, D, H = 5, 3, 2, 4
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
INPUTS = {"RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h")}
INPUTS["GRU"] = INPUTS["RNN"]
INPUTS["LSTM"] = (*INPUTS["RNN"], "initial_c", "P")
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}


def node_model(op, *, fed=(), dtype=np.float32, bias=True, peepholes=False, name="", **attributes):
    """`(model, feeds)`: inputs in `fed` are those of the graph, weights are initializers."""
    rng = np.random.default_rng(sum(map(ord, op)))
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    gates, batch_first = GATES[op], attributes.get("layout", 0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    state = (B, directions, H) if batch_first else (directions, B, H)
    arrays = {
        "X": draw(*((B, T, D) if batch_first else (T, B, D))),
        "W": draw(directions, gates * H, D),
        "R": draw(directions, gates * H, H),
        "B": draw(directions, 2 * gates * H),
        "P": draw(directions, 3 * H),
        "sequence_lens": np.array([T, 2, 3], np.int32),
        "initial_h": draw(*state),
        "initial_c": draw(*state),
    }
    weights = {"W", "R"} | ({"B"} if bias else set()) | ({"P"} if peepholes else set())
    fed = {"X", *fed}
    names = [k if k in weights | fed else "" for k in INPUTS[op]]
    node = helper.make_node(op, names, OUTPUTS[op], name=name, hidden_size=H, **attributes)
    model = model_of(
        [node],
        {k: arrays[k] for k in names if k in fed},
        {k: 4 if k == "Y" else 3 for k in OUTPUTS[op]},
        {k: arrays[k] for k in names if k in weights - fed},
    )
    return model, {k: arrays[k] for k in names if k in fed}


def model_of(nodes, feeds, outputs, initializers):
    def kind(array):
        return helper.np_dtype_to_tensor_dtype(array.dtype)

    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(k, kind(v), [None] * v.ndim) for k, v in feeds.items()],
        [
            helper.make_tensor_value_info(k, kind(next(iter(feeds.values()))), [None] * rank)
            for k, rank in outputs.items()
        ],
        [numpy_helper.from_array(v, k) for k, v in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def onnxruntime():
    """The package; skips where it is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("onnxruntime")


def by_runtime(model, feeds):
    """The outputs by onnxruntime, by name."""
    runtime = onnxruntime()
    onnx.checker.check_model(model, full_check=True)
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised as well
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def by_reference(model, feeds):
    """The outputs by onnx's own evaluator, by name."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(model)
    return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
