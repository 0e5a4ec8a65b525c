"""The activations attribute of ONNX's recurrent operators."""

from typing import Any

from rnnjax.interop._onnx._node import Node

_ALPHA = {  # functions that take alpha, with its default; onnxruntime's where the spec is silent
    "affine": None,
    "leakyrelu": 0.01,
    "thresholdedrelu": 1.0,
    "scaledtanh": None,
    "hardsigmoid": 0.2,
    "elu": 1.0,
}
_BETA = {"affine": None, "scaledtanh": None, "hardsigmoid": 0.5}
_HERE = {  # (function, alpha, beta) -> rnnjax's name
    ("tanh", None, None): "tanh",
    ("relu", None, None): "relu",
    ("sigmoid", None, None): "sigmoid",
    ("affine", 1.0, 0.0): "identity",
    ("leakyrelu", 1.0, None): "identity",
    ("leakyrelu", 0.0, None): "relu",
    ("thresholdedrelu", 0.0, None): "relu",
    ("scaledtanh", 1.0, 1.0): "tanh",
}


def activations_of(
    found: Node, direction: int, default: tuple[str, ...], *, fixed: bool = False
) -> list[Any]:
    """rnnjax's names of one direction's activations; `fixed` where the cell has only the default.

    activation_alpha and activation_beta hold values for the functions that take one, in order.
    """
    label, attributes = found.label, found.attributes
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    given = attributes["activations"]
    names = [name.decode() for name in given] if given else [*default] * directions
    if len(names) != len(default) * directions:
        raise ValueError(f"{label} has activations={names}: expected {len(default) * directions}")
    alphas, betas = [*attributes["activation_alpha"]], [*attributes["activation_beta"]]
    functions = []
    for name in names:
        kind = name.lower()
        alpha = (alphas.pop(0) if alphas else _ALPHA[kind]) if kind in _ALPHA else None
        beta = (betas.pop(0) if betas else _BETA[kind]) if kind in _BETA else None
        functions.append((name, _HERE.get((kind, alpha, beta)), alpha, beta))
    start = direction * len(default)
    mine = functions[start : start + len(default)]
    for (name, here, alpha, beta), usual in zip(mine, default, strict=True):
        if here is None or (fixed and here != usual.lower()):
            values = {"activation_alpha": alpha, "activation_beta": beta}
            stated = "".join(f", {k}={v:g}" for k, v in values.items() if v is not None)
            known = f"has {usual} there" if fixed else "has Tanh, Relu, Sigmoid and identity"
            raise ValueError(
                f"{label} has the activation {name}{stated}, and the cell here {known}: no cell "
                "computes the same"
            )
    return [here for _, here, _, _ in mine]
