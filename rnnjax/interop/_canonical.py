"""Recurrent weights apart from any framework: gates by name, one cell a direction and layer.

Every framework is read into `Gates` and written from them, so that each knows its own layout alone.
A `Network` is a list of layers, each of which is one direction or two.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import cells
from rnnjax._checks import described
from rnnjax._params import check_params
from rnnjax._types import Array, Cell, Params, initial_carry, known
from rnnjax.combinators import LearnedCarryParams, learned_carry, stack
from rnnjax.interop._arrays import to_numpy
from rnnjax.interop._clipped import clipped
from rnnjax.unrolling import Layer, bidirectional, check_model_params, recurrent, serial

Block = dict[str, np.ndarray]
Kind = Any  # a form that is a str, or a pair (name, option) of them: ("gru", "after")


class Gates(NamedTuple):
    """The weights of one cell, by gate: i, f, g, o of an LSTM, r, z, n of a GRU, f, n of an MGU.

    `kind` is the form of the cell (`Structure.form`), the textbook function that it computes, with
    the signs and the order of operations of rnnjax: z near 1 keeps the old state.
    """

    kind: Kind
    w_x: Block  # gate -> [D, H]
    w_h: Block  # gate -> [H, H]; [P, H] with a projection; {} for an IndRNN
    b: Block  # gate -> [H], all biases that are added to the gate's sum
    more: Block = {}  # noqa: RUF012  by the name in the params: b_hn [H], w_p [H, P], p [3H], u [H]
    size: tuple[int, int] | None = None  # of the images of a conv_lstm
    reverse: bool = False
    clip: float | None = None  # the bound of what its activations read
    dropout: float = 0.0  # of its inputs in training, anew at every step
    begin: Block = {}  # noqa: RUF012  field of the carry -> [H], where it does not begin at zero


Network = Sequence[Sequence[Gates]]  # layers, each of one direction or (forward, backward)

GATES: dict[Kind, str] = {
    **{("vanilla", name): "h" for name in cells.ACTIVATIONS},
    "lstm": "ifgo",
    "lstm_projected": "ifgo",
    "peephole_lstm": "ifgo",
    "cifg": "igo",
    ("gru", "after"): "rzn",
    ("gru", "before"): "rzn",
    ("mgu", "zhou"): "fn",
    ("mgu", "flax"): "fn",
    ("mgu", "flax_no_reset"): "fn",
    **{("indrnn", name): "h" for name in cells.ACTIVATIONS},
    "conv_lstm": "ifgo",
}
"""The kinds of cells that are converted, and the gates of each in rnnjax's order."""


def split(w: np.ndarray, order: str) -> Block:
    """[..., gates*H] -> gate -> [..., H], for the order of a framework."""
    if w.ndim == 0 or w.shape[-1] % len(order):
        raise ValueError(
            f"expected weights with {len(order)} gates side by side in their last axis, got an "
            f"array of shape {w.shape}"
        )
    return dict(zip(order, np.split(w, len(order), axis=-1), strict=True))


def join(block: Block, order: str) -> np.ndarray:
    """Inverse of `split`."""
    return np.concatenate([block[gate] for gate in order], axis=-1)


def split_all(
    kind: Kind, order: str, arrays: Sequence[np.ndarray], more: Block | None = None, **options: Any
) -> Gates:
    """Gates of (w_x, w_h, b), each with its gates side by side in the same order."""
    w_x, w_h, b = (split(array, order) for array in arrays)
    return Gates(kind, w_x, w_h, b, more or {}, **options)


def zeros_like(block: Block) -> Block:
    return {gate: np.zeros_like(b) for gate, b in block.items()}


def name_and_option(kind: Kind) -> tuple[str, str | None]:
    """("gru", "after"), ("lstm", None)."""
    return kind if isinstance(kind, tuple) else (kind, None)


def hidden_size(gates: Gates) -> int:
    """H, the size of each gate."""
    return next(iter(gates.b.values())).shape[-1]


def _output_size(gates: Gates) -> int:
    return gates.more["w_p"].shape[1] if "w_p" in gates.more else hidden_size(gates)


def input_size(gates: Gates) -> int:
    """D, the number of features that the cell reads."""
    return next(iter(gates.w_x.values())).shape[-2]


def to_model(network: Network) -> tuple[Any, Params]:
    """The cell or layer that computes with these weights, and its params."""
    for k, (layer, above) in enumerate(itertools.pairwise(network)):
        outputs = sum(_output_size(gates) for gates in layer)
        if outputs != input_size(above[0]):
            raise ValueError(
                f"layer {k + 1} reads {input_size(above[0])} features, and layer {k} before it "
                f"gives {outputs}: expected layers from the input on, each on the one before"
            )
    models, params = zip(*map(_to_layer, network), strict=True)
    if len(models) == 1:
        return models[0], params[0]
    return (serial if any(isinstance(m, Layer) for m in models) else stack)(*models), params


def _to_layer(directions: Sequence[Gates]) -> tuple[Any, Params]:
    each = [to_cell(gates) for gates in directions]
    if len(each) == 2:
        (forward, forward_params), (backward, backward_params) = each
        return bidirectional(forward, backward), (forward_params, backward_params)
    ((cell, params),) = each
    return (recurrent(cell, reverse=True) if directions[0].reverse else cell), params


def to_cell(gates: Gates) -> tuple[Cell, Params]:
    """The cell of one direction of one layer, and its params."""
    _check_alike(gates)
    order, cell = GATES[gates.kind], _cell(gates)
    cell = cell if gates.clip is None else clipped(cell, gates.clip)
    blocks = {name: join(getattr(gates, name), order) for name in ("w_x", "b")}
    if gates.w_h:
        blocks["w_h"] = join(gates.w_h, order)
    names = known(cell).params._fields
    values = {name: blocks.get(name, gates.more.get(name)) for name in names}
    params = {name: None if w is None else to_jax(name, w) for name, w in values.items()}
    return _begun(cell, check_params(cell, params), gates.begin)


def _begun(cell: Cell, params: Params, begin: Block) -> tuple[Cell, Params]:
    """The cell with its initial carry among its params, where it is not zero."""
    if not any(map(np.any, begin.values())):
        return cell, params
    carry = initial_carry(cell, params, ())
    states = {field: to_jax(f"initial_{field}", state) for field, state in begin.items()}
    return learned_carry(cell), LearnedCarryParams(params, carry._replace(**states))


def _check_alike(gates: Gates) -> None:
    """Raise unless all weights have one dtype, and those of all gates one shape."""
    for name in ("w_x", "w_h", "b"):
        shapes = {gate: w.shape for gate, w in getattr(gates, name).items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{name} must have one shape for all gates, got {shapes}")
    blocks = [gates.w_x, gates.w_h, gates.b, gates.more]
    dtypes = {str(w.dtype) for block in blocks for w in block.values()}
    if len(dtypes) > 1:
        raise TypeError(
            f"all weights must have one dtype, got {' and '.join(sorted(dtypes))}: cast them first"
        )


def _cell(gates: Gates) -> Cell:
    hidden, dtype = hidden_size(gates), gates.b[GATES[gates.kind][0]].dtype
    name, option = name_and_option(gates.kind)
    if name == "conv_lstm":
        if gates.w_x["i"].ndim != 4:
            raise ValueError(
                "conv_lstm convolves images with kernels [height, width, channels, features], got "
                f"a kernel of shape {gates.w_x['i'].shape}: other images have no cell here"
            )
        height, width = gates.w_x["i"].shape[:2]
        return cells.conv_lstm(hidden, gates.size, (height, width), dtype=dtype)  # pyright: ignore
    if name == "lstm_projected":
        return cells.lstm_projected(hidden, gates.more["w_p"].shape[1], dtype=dtype)
    if name == "gru":
        return cells.gru(hidden, reset=option, dtype=dtype)  # pyright: ignore
    if name == "mgu":
        return cells.mgu(hidden, variant=option, dtype=dtype)  # pyright: ignore
    arguments = (hidden,) if option is None else (hidden, option)
    return cells.FACTORIES[name](*arguments, dtype=dtype)


def to_network(name: str, model: Any, params: Params) -> Network:
    """Inverse of `to_model`; `name` is the function that was called.

    Raises:
      TypeError: neither a cell nor a layer, or no params of it.
      ValueError: a cell or layer that no framework has.
    """
    if isinstance(model, Cell):
        params = check_params(model, params)
        layers = known(model).layers
        if layers:
            each = zip(layers, params, strict=True)
            return [layer for c, p in each for layer in to_network(name, c, p)]
        return [(_trained_gates(name, model, params),)]
    if not isinstance(model, Layer):
        raise TypeError(
            f"cell must be a Cell such as rnnjax.lstm(128), or a Layer, got {described(model)}"
        )
    if model.call is None:
        raise ValueError(f"{name} takes layers made by rnnjax.serial or bidirectional, got {model}")
    params = check_model_params(model, params)
    parts, options = model.call.positional, dict(model.call.keywords)
    if model.call.name == "recurrent":
        reverse = options.get("reverse", False)
        network = to_network(name, parts[0], params)
        return [tuple(g._replace(reverse=reverse) for g in layer) for layer in network]
    each = [to_network(name, part, p) for part, p in zip(parts, params, strict=True)]
    if model.call.name == "serial":
        return [layer for network in each for layer in network]
    if any(len(network) > 1 for network in each):
        raise ValueError(
            f"{name} cannot convert {model}: frameworks join both directions at every layer, as "
            "rnnjax.serial(rnnjax.bidirectional(...), rnnjax.bidirectional(...)) does"
        )
    ((forward,),), ((backward,),) = each
    return [(forward, backward._replace(reverse=True))]


def _trained_gates(name: str, cell: Cell, params: Params) -> Gates:
    """The weights of one cell, with the dropout that a framework may have beside them."""
    call, learned = known(cell).call, known(cell).inside
    if learned is not None:
        raise ValueError(
            f"{name} cannot convert {cell!r}, whose initial carry would be lost: convert "
            f"{learned!r} with params.cell, and begin from params.carry there"
        )
    if call is None or call.name not in ("input_dropout", "recurrent_dropout", "zoneout"):
        return to_gates(name, cell, params)
    inner, *rest = (*call.positional, *dict(call.keywords).values())
    if call.name != "input_dropout" or len(rest) > 1 or known(inner).form not in GATES:
        raise ValueError(
            f"{name} cannot convert {cell!r}, whose randomness in training would be lost: convert "
            f"the cell inside, {inner!r}, whose params are the same"
        )
    return to_gates(name, inner, params)._replace(dropout=rest[0])


def to_gates(name: str, cell: Cell, params: Params) -> Gates:
    """The weights of one cell by gate."""
    structure = known(cell)
    if structure.form not in GATES:
        kinds = sorted({name_and_option(kind)[0] for kind in GATES})
        raise ValueError(
            f"{name} cannot convert {cell!r}: cells with a place elsewhere are "
            f"{', '.join(kinds)}, alone, in a stack, or in serial and bidirectional"
        )
    order = GATES[structure.form]
    fields = {field: to_numpy(field, w) for field, w in params._asdict().items() if w is not None}
    if name != "to_onnx" and any(map(np.any, jax.tree.leaves(initial_carry(cell, params, (1,))))):
        raise ValueError(
            f"{name} cannot convert {cell!r}: its initial carry is not zero and would be lost"
        )
    blocks = {
        field: split(fields.pop(field), order) for field in ("w_x", "w_h", "b") if field in fields
    }
    size = None
    if structure.form == "conv_lstm":
        size = structure.call.positional[1]  # pyright: ignore
    return Gates(structure.form, blocks["w_x"], blocks.get("w_h", {}), blocks["b"], fields, size)


def to_jax(name: str, array: np.ndarray) -> Array:
    """A copy, so that training the other framework's model leaves it alone."""
    if array.dtype == np.float64 and jnp.result_type(float) != jnp.float64:
        raise ValueError(
            f"{name} is float64 and JAX would round it to float32: enable float64 with "
            'jax.config.update("jax_enable_x64", True), or convert float32 weights (in PyTorch, '
            "module.float())"
        )
    return jnp.array(array)
