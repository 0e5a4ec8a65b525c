"""Keras's recurrent layers and cells, under any of its backends."""

from typing import Any

import numpy as np

from rnnjax._checks import described
from rnnjax._types import Cell, Params
from rnnjax.interop._arrays import peer, to_numpy
from rnnjax.interop._canonical import (
    GATES,
    Gates,
    Network,
    hidden_size,
    input_size,
    join,
    name_and_option,
    split,
    to_model,
    to_network,
    zeros_like,
)
from rnnjax.interop._modules import (
    activation_of,
    check_activations,
    check_defined_by,
    check_size,
    foreign_code,
    listed,
)
from rnnjax.interop._table import check_holds
from rnnjax.unrolling import Layer

_ORDERS = {"SimpleRNNCell": "h", "LSTMCell": "ifgo", "GRUCell": "zrn", "ConvLSTMCell": "ifgo"}


def from_keras(layer: Any, *, size: tuple[int, int] | None = None) -> tuple[Any, Params]:
    """Convert Keras SimpleRNN, LSTM, GRU, ConvLSTM2D and Bidirectional layers.

        layer(xs)   becomes   rnnjax.unroll(cell, params, xs.swapaxes(0, 1))

    Keras reads `[B, T, D]` and returns the last output unless return_sequences=True; `unroll` reads
    `[T, B, D]` and returns all of them, `[T, B, H]`, after the last carry. The order of a GRU's
    gates is z, r, h there. Of the two biases of a GRU with reset_after=True b is the sum, but for
    the candidate's, of which b_hn is kept apart. Without biases they are zeros. What belongs to
    training (dropout, recurrent_dropout, regularizers) is left behind.

    Args:
      layer: a built `SimpleRNN`, `LSTM`, `GRU`, `ConvLSTM2D` or one of their cells, a
        `Bidirectional` of these that concatenates; a `Sequential`, `StackedRNNCells` or list of
        these, layer by layer; a functional model of such layers in a row.
      size: (height, width) of the images of a `ConvLSTM2D`.

    Returns:
      `(cell, params)`; or `(layer, params)` where something runs backwards.

    Raises:
      TypeError: any other object, or one whose class has a forward pass of its own.
      ValueError: a layer that is not built; what no cell here computes: other activations, another
        merge_mode, strides; a functional model with branches, a subclassed model.

    Example:
      >>> import rnnjax
      >>> def as_rnnjax(keras_layer, xs):
      ...     cell, params = rnnjax.interop.from_keras(keras_layer)
      ...     return rnnjax.unroll(cell, params, xs.swapaxes(0, 1))

    References:
      https://keras.io/api/layers/recurrent_layers/
    """
    layers = [each for one in listed(layer) for each in _in_a_row(one)]
    return to_model([each for layer in layers for each in _layers(layer, size)])


def _in_a_row(model: Any) -> list[Any]:
    """The layers of a model, each of which reads the output of the one before, or the layer."""
    if not hasattr(model, "layers"):
        return [model]
    kind = type(model).__name__
    if kind not in ("Sequential", "Functional"):
        raise ValueError(
            f"what a {kind} does with its layers is known to its call alone: pass them as a list, "
            "in the order in which they run, if each reads the output of the one before"
        )
    layers = model.layers if kind == "Sequential" else _functional(model)
    return [each for layer in layers for each in _in_a_row(layer)]


def _functional(model: Any) -> list[Any]:
    """The layers of a functional model, from its one input to its one output."""
    tensors, layers = [*model.outputs], []
    while len(tensors) == 1:
        layer, number, place = tensors[0]._keras_history
        if len(model.inputs) == 1 and tensors[0] is model.inputs[0]:
            return layers[::-1]
        layers.append(layer)
        tensors = layer._inbound_nodes[number].input_tensors if place == 0 else []
    raise ValueError(
        f"the model {model.name!r} has branches, states or several inputs or outputs: convert each "
        "layer by itself, or pass as a list those that read each other's outputs"
    )


def _layers(layer: Any, size: Any) -> list[tuple[Gates, ...]]:
    """Those of one layer, which are several where its cells are stacked."""
    _check_call(layer)
    if hasattr(layer, "forward_layer"):
        return [_both(layer, size)]
    if getattr(layer, "go_backwards", False):
        raise ValueError(
            "the layer has go_backwards=True and returns its outputs backwards in time; here they "
            "keep their place: pass layer.cell, with rnnjax.recurrent(cell, reverse=True)"
        )
    cell = getattr(layer, "cell", layer)
    return [(_read(each, size),) for each in getattr(cell, "cells", [cell])]


def _check_call(layer: Any) -> None:
    instead = "pass one of Keras's with its weights"
    check_defined_by(("keras", "tf_keras"), layer, "call", instead)


def _both(layer: Any, size: Any) -> tuple[Gates, Gates]:
    if layer.merge_mode != "concat":
        raise ValueError(
            f"the Bidirectional has merge_mode={layer.merge_mode!r}, and rnnjax.bidirectional "
            "concatenates: it would be lost"
        )
    forward, backward = layer.forward_layer, layer.backward_layer
    _check_call(forward)
    _check_call(backward)
    if forward.go_backwards:
        raise ValueError(
            "the Bidirectional's forward_layer has go_backwards=True, and its outputs are "
            "turned in time: the order would be lost. Give it the layers the other way around"
        )
    return _read(forward.cell, size), _read(backward.cell, size)._replace(reverse=True)


def _read(cell: Any, size: Any) -> Gates:
    where = type(cell).__name__
    if where not in _ORDERS:
        raise TypeError(
            "layer must be a keras SimpleRNN, LSTM, GRU or ConvLSTM2D layer, one of their "
            f"cells, a Bidirectional or Sequential of these, got {described(cell)}"
        )
    _check_call(cell)
    if getattr(cell, "kernel", None) is None:
        raise ValueError(
            f"the {where} is not built and has no weights: call the layer, or build it"
        )
    kind = _kind(where, cell)
    order, size = _ORDERS[where], check_size(kind, size)
    w_x, w_h = (to_numpy(n, _value(getattr(cell, n))) for n in ("kernel", "recurrent_kernel"))
    b = np.zeros(w_x.shape[-1], w_x.dtype)
    has_b_hn = kind == ("gru", "after")
    both = np.stack([b, b])
    if getattr(cell, "bias", None) is not None:
        b = to_numpy("bias", _value(cell.bias))
        both = b if has_b_hn else both
    blocks = split(both.sum(0) if has_b_hn else b, order)
    more = {}
    if has_b_hn:
        blocks["n"], more["b_hn"] = (split(each, order)["n"] for each in both)
    return Gates(kind, split(w_x, order), split(w_h, order), blocks, more, size)


def _value(variable: Any) -> Any:
    """What a variable of the backend holds; PyTorch's tensors as they are."""
    return getattr(variable, "value", variable)


def _kind(where: str, cell: Any) -> Any:
    if where == "SimpleRNNCell":
        return "vanilla", activation_of(f"{where}.activation", cell.activation)
    check_activations(where, cell, activation="tanh", recurrent_activation="sigmoid")
    if where == "GRUCell":
        return "gru", "after" if cell.reset_after else "before"
    if where == "LSTMCell":
        return "lstm"
    given = {n: getattr(cell, n) for n in ("rank", "strides", "padding", "dilation_rate")}
    given["data_format"] = cell.data_format
    ones = {tuple(given[n]) for n in ("strides", "dilation_rate")}
    plain = (given["rank"], given["padding"], given["data_format"]) == (2, "same", "channels_last")
    if ones != {(1, 1)} or not plain:
        said = ", ".join(f"{n}={v!r}" for n, v in given.items())
        raise ValueError(
            "conv_lstm convolves images, channels last, with strides of 1 and padding='same', got "
            f"{said}: they would be lost"
        )
    return "conv_lstm"


def to_keras(cell: Cell | Layer, params: Params) -> Any:
    """Convert a cell or layer and its params to a built Keras layer. Inverse of `from_keras`.

    Keras has two biases for one sum in a GRU with reset_after=True: the first row gets all of it,
    the second is zero, but for b_hn, which has its place there.

    Args:
      cell: a `vanilla`, `lstm`, `gru` or `conv_lstm` cell, a `stack` of such, or a `bidirectional`
        or `serial` of these.
      params: its params.

    Returns:
      A `SimpleRNN`, `LSTM`, `GRU`, `ConvLSTM2D` or `Bidirectional` with return_sequences=True, in a
      `Sequential` where there are several. It reads `[B, T, D]`.

    Raises:
      ValueError: Keras has no place for the cell; the error says what would be lost.
      ImportError: Keras is not installed.

    Example:
      >>> import rnnjax
      >>> def as_keras(params):
      ...     return rnnjax.interop.to_keras(rnnjax.gru(4), params)
    """
    network = to_network("to_keras", cell, params)
    check_holds("to_keras", "Keras", network)
    if any(len(layer) == 1 and layer[0].reverse for layer in network):
        raise ValueError(
            "to_keras: a layer of Keras that runs backwards alone returns its outputs backwards in "
            "time: the order would be lost. Convert the cell, and reverse the sequence in Keras"
        )
    with foreign_code():
        return _model(peer("keras"), network)


def _model(keras: Any, network: Network) -> Any:
    layers = []
    for directions in network:
        made = [_made(keras, gates) for gates in directions]
        layer = made[0]
        if len(made) == 2:
            options = {"backward_layer": made[1], "dtype": made[0].dtype_policy}
            layer = keras.layers.Bidirectional(made[0], **options)
        layer.build(_input_shape(directions[0]))
        each = [layer] if len(made) == 1 else [layer.forward_layer, layer.backward_layer]
        for one, gates in zip(each, directions, strict=True):
            one.set_weights(_write(gates))
        layers.append(layer)
    if len(layers) == 1:
        return layers[0]
    (first, *_), *_ = network
    inputs = keras.Input(_input_shape(first)[1:], dtype=_dtype(first))
    return keras.Sequential([inputs, *layers])


def _dtype(gates: Gates) -> str:
    return str(gates.b[GATES[gates.kind][0]].dtype)


def _input_shape(gates: Gates) -> tuple[int | None, ...]:
    return (None, None, *(gates.size or ()), input_size(gates))


def _made(keras: Any, gates: Gates) -> Any:
    name, option = name_and_option(gates.kind)
    options: dict[str, Any] = {
        "return_sequences": True,
        "go_backwards": gates.reverse,
        "recurrent_initializer": "zeros",  # drawing orthogonal ones fails in half precision
        "dtype": _dtype(gates),
    }
    hidden = hidden_size(gates)
    if name == "vanilla":
        activation = {"identity": "linear"}.get(str(option), option)
        return keras.layers.SimpleRNN(hidden, activation=activation, **options)
    if name == "gru":
        return keras.layers.GRU(hidden, reset_after=option == "after", **options)
    if name == "lstm":
        return keras.layers.LSTM(hidden, **options)
    kernel = gates.w_x["i"].shape[:2]
    return keras.layers.ConvLSTM2D(
        hidden, kernel, padding="same", recurrent_activation="sigmoid", **options
    )


def _write(gates: Gates) -> list[np.ndarray]:
    order = {"gru": "zrn"}.get(name_and_option(gates.kind)[0], GATES[gates.kind])
    b = join(gates.b, order)
    if gates.kind == ("gru", "after"):
        b = np.stack([b, join(zeros_like(gates.b) | {"n": gates.more["b_hn"]}, order)])
    return [join(gates.w_x, order), join(gates.w_h, order), b]
