"""Which framework has a place for which cell, and what would be lost in the others."""

from rnnjax.cells import ACTIVATIONS
from rnnjax.interop._canonical import GATES, Gates, Kind, Network, hidden_size, name_and_option

_SIMPLE: dict[Kind, str] = {("vanilla", name): "SimpleCell" for name in ACTIVATIONS}
_CELLS: dict[Kind, str] = {"lstm": "LSTMCell, OptimizedLSTMCell", ("gru", "after"): "GRUCell"}

HOLDS: dict[str, dict[Kind, str]] = {
    "PyTorch": {
        ("vanilla", "tanh"): "RNN",
        ("vanilla", "relu"): "RNN(nonlinearity='relu')",
        "lstm": "LSTM",
        "lstm_projected": "LSTM(proj_size)",
        ("gru", "after"): "GRU",
    },
    "Flax nnx": _SIMPLE | _CELLS | {("gru", "after"): "GRUCell, if b_hn = 0"},
    "Flax linen": {
        **_SIMPLE,
        **_CELLS,
        ("mgu", "flax"): "MGUCell",
        ("mgu", "flax_no_reset"): "MGUCell(reset_gate=False)",
        "conv_lstm": "ConvLSTMCell",
    },
    "Equinox": {"lstm": "LSTMCell", ("gru", "after"): "GRUCell"},
    "Haiku": {
        ("vanilla", "relu"): "VanillaRNN",
        "lstm": "LSTM",
        ("gru", "before"): "GRU",
        "conv_lstm": "Conv2DLSTM",
    },
    "Keras": {
        **{("vanilla", name): "SimpleRNN" for name in ACTIVATIONS},
        "lstm": "LSTM",
        ("gru", "after"): "GRU(reset_after=True)",
        ("gru", "before"): "GRU(reset_after=False)",
        "conv_lstm": "ConvLSTM2D",
    },
    "ONNX": {
        ("vanilla", "tanh"): "RNN",
        ("vanilla", "relu"): "RNN(activations=['Relu'])",
        ("vanilla", "sigmoid"): "RNN(activations=['Sigmoid'])",
        ("vanilla", "identity"): "RNN(activations=['Affine'])",
        "lstm": "LSTM",
        "peephole_lstm": "LSTM(P)",
        "cifg": "LSTM(input_forget=1)",
        ("gru", "after"): "GRU(linear_before_reset=1)",
        ("gru", "before"): "GRU(linear_before_reset=0)",
    },
    "haste": {"lstm": "LSTM", ("gru", "after"): "GRU", ("indrnn", "tanh"): "IndRNN"},
}
"""The class of a framework that computes what a cell does, weight for weight; in and out."""

LOST: dict[Kind, str] = {
    **{("vanilla", name): f"the activation {name!r}" for name in ACTIVATIONS},
    "lstm_projected": "the projection w_p",
    "peephole_lstm": "the peephole weights p",
    "cifg": "the forget gate of 1 - i",
    ("gru", "after"): "the reset of the GRU after its recurrent product",
    ("gru", "before"): "the reset of the GRU before its recurrent product",
    ("mgu", "zhou"): "the single gate of the MGU, open for the new state as in its paper",
    ("mgu", "flax"): "the single gate of the MGU, on the product W_hn h",
    ("mgu", "flax_no_reset"): "the single gate, which keeps the old state",
    **{("indrnn", name): "the diagonal recurrence u" for name in ACTIVATIONS},
    "conv_lstm": "the convolution",
}
"""What another framework would have to leave out of a cell."""


def check_holds(name: str, framework: str, network: Network) -> None:
    """Raise ValueError where `framework` has no place for one of the cells.

    Args:
      name: the function that was called.
      framework: a key of `HOLDS`.
      network: what is to be written.
    """
    for number, kind in ((n, gates.kind) for n, layer in enumerate(network) for gates in layer):
        if kind not in HOLDS[framework]:
            where = f" of layer {number}" if len(network) > 1 else ""
            raise ValueError(
                f"{name}: {framework} cannot hold {label(kind)}{where}: {LOST[kind]} would be lost"
            )
    if framework != "PyTorch" and any(gates.dropout for layer in network for gates in layer):
        raise ValueError(
            f"{name}: {framework} has no dropout beside the weights: it would be lost. Convert the "
            "cells inside of input_dropout, whose params are the same"
        )


def check_one_direction(name: str, framework: str, network: Network) -> list[Gates]:
    """The layers, for a framework whose modules run forwards alone."""
    if any(len(layer) > 1 or layer[0].reverse for layer in network):
        raise ValueError(
            f"{name}: {framework} has cells, and no layer that runs backwards: the direction would "
            "be lost. Convert each direction's cell and params by itself"
        )
    return [layer[0] for layer in network]


def check_one_size(name: str, framework: str, network: Network) -> None:
    """Raise ValueError unless all layers are alike, for a framework that makes them in one call."""
    forms = {tuple(map(_of_size, layer)) for layer in network}
    if len({form for layer in forms for form in layer}) > 1 or len(set(map(len, forms))) > 1:
        each = " and ".join(sorted(" beside ".join(layer) for layer in forms))
        raise ValueError(
            f"{name}: the layers of one {framework} module have one kind, one hidden size, one "
            f"dtype and the same directions, got {each}: convert them layer by layer"
        )


def _of_size(gates: Gates) -> str:
    """`lstm_projected of 8 to 2`: what one call would be told."""
    to = f" to {gates.more['w_p'].shape[1]}" if "w_p" in gates.more else ""
    dtype = next(iter(gates.b.values())).dtype
    return f"{label(gates.kind)} of {hidden_size(gates)}{to} in {dtype}"


def label(kind: Kind) -> str:
    """A kind as the docs write it: `gru after`."""
    return " ".join(part for part in name_and_option(kind) if part)


def table() -> str:
    """`HOLDS` as the Markdown table of docs/weights.md: cells in rows, frameworks in columns."""
    rows = [["cell", *HOLDS], ["---"] * (1 + len(HOLDS))]
    kinds: dict[str, list[Kind]] = {}
    for kind in GATES:  # activations that are held alike share a row
        held = [classes.get(kind, "–") for classes in HOLDS.values()]
        name, option = name_and_option(kind)
        group = str([name, held]) if name in ("vanilla", "indrnn") else label(kind)
        kinds.setdefault(group, []).append(kind)
        if len(kinds[group]) == 1:
            rows.append([f"`{label(kind)}`", *held])
        else:
            rows[1 + len(kinds)][0] += f", `{option}`"
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
