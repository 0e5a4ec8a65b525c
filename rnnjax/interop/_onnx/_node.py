"""A recurrent node of an ONNX model: its attributes, and the arrays that the model gives it."""

import itertools
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnjax._checks import described
from rnnjax.interop._arrays import peer
from rnnjax.interop._onnx._constants import FREE, Constants

ORDER = {"RNN": "h", "LSTM": "iofg", "GRU": "zrn"}
"""The operators, and the order of their gates by rnnjax's names."""

_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_WEIGHTS = ("W", "R", "B", "P")
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
_AXES_ALONE = {"Identity", "Reshape", "Squeeze", "Transpose"}
_ATTRIBUTES = {  # with their defaults
    "activations": None,
    "activation_alpha": (),
    "activation_beta": (),
    "clip": None,
    "direction": "forward",
    "hidden_size": None,
    "input_forget": 0,
    "layout": 0,
    "linear_before_reset": 0,
    "output_sequence": 0,  # of opset 1: whether Y is an output
}
_LARGEST = float(np.finfo(np.float32).max)


class Node(NamedTuple):
    """A recurrent node, and those of its inputs that are the same in every run."""

    op: str
    label: str
    attributes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    begins: dict[str, np.ndarray]  # initial states [directions, H], the same for any batch


def read_nodes(model: Any, names: str | Sequence[str] | None) -> list[Node]:
    """The model's recurrent nodes of these names, each of which reads the output of the one before;
    or its only one."""
    model = _loaded(model)
    several = isinstance(names, tuple | list) and len(names) > 0
    protos = [_pick(model.graph, name) for name in (names if several else [names])]  # pyright: ignore
    constants = Constants(model)
    nodes = [_read(constants, proto) for proto in protos]
    for (one, first), (two, second) in itertools.pairwise(zip(protos, nodes, strict=True)):
        _check_in_a_row(model, one, first, two, second)
    return nodes


def _loaded(model: Any) -> Any:
    onnx = peer("onnx")
    if isinstance(model, str | os.PathLike):
        with open(model, "rb"):  # says which file is missing
            pass
        try:
            model = onnx.load(os.fspath(model))
        except Exception as error:  # protobuf's DecodeError, of several classes
            raise ValueError(f"{os.fspath(model)} is not an ONNX model: {error}") from error
    if not isinstance(model, onnx.ModelProto):
        raise TypeError(
            f"model must be an onnx.ModelProto or the path of an .onnx file, got {described(model)}"
        )
    return model


def _pick(graph: Any, name: str | None) -> Any:
    """The graph's recurrent node of this name, or its only one."""
    if not (name is None or isinstance(name, str)):
        raise TypeError(f"node must be a name, or several in a tuple, got {described(name)}")
    nodes = [n for n in graph.node if n.op_type in ORDER and n.domain in ("", "ai.onnx")]
    names = ", ".join(repr(_name(n)) for n in nodes) or "none"
    chosen = [n for n in nodes if name is None or name in (n.name, *filter(None, n.output))]
    if len(chosen) == 1:
        return chosen[0]
    if name is not None:
        raise ValueError(f"node {name!r} is not one recurrent node of the model, which has {names}")
    if not nodes:
        raise ValueError("the model's graph has no RNN, LSTM or GRU node")
    raise ValueError(f"the model has several recurrent nodes: pass node=, one or more of {names}")


def _name(node: Any) -> str:
    return node.name or next(filter(None, node.output))


def _check_in_a_row(model: Any, one: Any, first: Node, two: Any, second: Node) -> None:
    """Raise unless X of a node is Y of another, [T, directions, B, H], as [T, B, directions * H].

    What lies between is evaluated for numbers, of which each is another.
    """
    source, name = one.output[0], two.input[0]
    dims = Constants(model).dims(source)
    y, want, named = _numbers(dims if len(dims) == 4 else [""] * 4, first, second)
    try:
        found = Constants(model, {source: y}, named).find(name) if source else None
    except ValueError:
        found = None
    if found is not None and len(found) == 1 and np.array_equal(found[0], want):
        return
    makers = {output: node for node in model.graph.node for output in node.output if output}
    while name in makers and name != source and makers[name].op_type in _AXES_ALONE:
        name = makers[name].input[0]
    what = f"the output of {makers[name].op_type}" if name in makers else "the input"
    raise ValueError(
        f"node {_name(two)!r} does not read Y of {_name(one)!r}, but "
        + ("its numbers in other places" if name == source else f"{what} {name!r}")
        + ": convert each by itself"
    )


def _numbers(
    dims: list[int | str], first: Node, second: Node
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Numbers as Y of a node, what the next one reads then, and what open sizes stand for."""
    hidden, layout = first.arrays["R"].shape[-1], first.attributes["layout"]
    steps, batch = (dims[1], dims[0]) if layout else (dims[0], dims[2])
    t = steps if isinstance(steps, int) else 5
    b = batch if isinstance(batch, int) else 3
    named = {dim: n for dim, n in ((steps, t), (batch, b)) if isinstance(dim, str) and dim}
    shape = (t, DIRECTIONS[first.attributes["direction"]], b, hidden)
    y = np.linspace(-1.7, 2.1, math.prod(shape), dtype=np.float32).reshape(shape)
    xs = y.transpose(0, 2, 1, 3).reshape(t, b, -1)
    if layout:
        y = y.transpose(2, 0, 1, 3)
    return y, xs.swapaxes(0, 1) if second.attributes["layout"] else xs, named


def _read(constants: Constants, node: Any) -> Node:
    onnx = peer("onnx")
    label = f"{node.op_type} node {_name(node)!r}"
    attributes = dict(_ATTRIBUTES)
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name not in attributes:
            raise ValueError(f"{label} has the attribute {attribute.name}, which is unknown")
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    direction, layout = attributes["direction"], attributes["layout"]
    if direction not in DIRECTIONS:
        raise ValueError(f"{label} has direction={direction!r}: expected one of {[*DIRECTIONS]}")
    if layout not in (0, 1):
        raise ValueError(f"{label} has layout={layout}: expected 0 or 1")
    attributes["clip"] = _bound(label, attributes["clip"])
    arrays, begins = _inputs(constants, node, label, layout)
    if attributes["input_forget"] and "P" in arrays:
        raise ValueError(
            f"{label} has input_forget={attributes['input_forget']} and peepholes P: the cell here "
            "with a forget gate of 1 - i, cifg, has none"
        )
    arrays = _checked(node.op_type, label, attributes, arrays)
    return Node(node.op_type, label, attributes, arrays, begins)


def _inputs(
    constants: Constants, node: Any, label: str, layout: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs that are constants, and the initial states that are alike for any batch.

    Those that the values of the model's inputs enter are left to the caller of `unroll`.
    """
    arrays, begins = {}, {}
    for role, name in zip(_INPUTS, node.input, strict=False):
        if not name or role == "X":
            continue
        try:
            values = constants.find(name)
        except ValueError as error:
            raise ValueError(f"{label} reads {role} from {error}: fold constants before") from error
        if values is None and role not in _WEIGHTS:
            continue
        if values is None or (len(values) > 1 and role in _WEIGHTS):
            raise ValueError(
                f"{label} reads {role} from {name!r}, which the graph computes from its inputs or "
                "takes as one: weights are expected to be constants"
            )
        if role == "sequence_lens" and _are_whole(constants, node.input[0], values, layout):
            continue
        if len(values) == 1:
            arrays[role] = values[0]
        else:
            begins[role] = _for_any_batch(f"{label} reads {role}", values, 1 - layout)
    return arrays, begins


def _are_whole(constants: Constants, xs: str, lengths: tuple[np.ndarray, ...], axis: int) -> bool:
    """Whether lengths are that of xs, whatever it is."""
    pairs = zip(lengths * (3 - len(lengths)), FREE, strict=True)
    return all(np.all(each == constants.sizes(xs, free)[axis]) for each, free in pairs)


def _for_any_batch(what: str, values: tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    """One example's part of states that are alike for all examples and any batch's size."""
    one = values[0].take(0, axis) if values[0].ndim == 3 else values[0]
    if not all(v.ndim == 3 and np.all(v == np.expand_dims(one, axis)) for v in values):
        raise ValueError(
            f"{what} from what the graph computes of the sizes of its inputs, unlike for each "
            "example or size: export the model with a fixed batch size and length"
        )
    return one


def _bound(label: str, clip: float | None) -> float | None:
    """The attribute clip; None where it leaves every number of float32 as it is."""
    if clip is None or clip >= _LARGEST:
        return None
    if not clip > 0:
        raise ValueError(f"{label} has clip={clip:g}: expected a positive bound")
    return float(str(np.float32(clip)))  # 0.3 rather than 0.30000001192092896


def _checked(
    op: str, label: str, attributes: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The constants, if their shapes fit together."""
    missing = [role for role in ("W", "R") if role not in arrays]
    if missing:
        raise ValueError(f"{label} has no {' and no '.join(missing)}")
    directions, gates = DIRECTIONS[attributes["direction"]], len(ORDER[op])
    hidden, features = arrays["R"].shape[-1], arrays["W"].shape[-1]
    want = {
        "W": (directions, gates * hidden, features),
        "R": (directions, gates * hidden, hidden),
        "B": (directions, 2 * gates * hidden),
        "P": (directions, 3 * hidden),
    }
    stated = attributes["hidden_size"]
    if stated is not None and stated != hidden:
        raise ValueError(f"{label} has hidden_size={stated} and R of {described(arrays['R'])}")
    for role, shape in want.items():
        if role in arrays and arrays[role].shape != shape:
            raise ValueError(
                f"{label} has {role} of {described(arrays[role])}, expected the shape {list(shape)}"
            )
    return arrays
