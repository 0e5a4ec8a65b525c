"""Functions of single numbers that ONNX has no operator for, by those that it has."""

from collections.abc import Callable

import numpy as np

from rnnjax.interop._onnx._site import Site


def number(site: Site, value: float = 1.0) -> str:
    """A number in the dtype of the first operand."""
    return site.graph.constant(np.asarray(value, site.operands[0].dtype))


def _log1p(site: Site, x: str) -> str:
    """log u · x / (u - 1) with u = 1 + x, which keeps the digits of a small x."""
    op, one = site.graph.op, number(site)
    u = op("Add", x, one)
    rest = op("Sub", u, one)
    is_none = op("Equal", rest, number(site, 0.0))
    ratio = op("Div", x, op("Where", is_none, one, rest))
    small = op("Where", is_none, x, op("Mul", op("Log", u), ratio))
    return op("Where", op("Greater", x, one), op("Log", u), small)


def _expm1(site: Site, x: str) -> str:
    """tanh(x / 2) (e^x + 1), which keeps the digits of a small x, and e^x - 1 for |x| > 1."""
    op, one = site.graph.op, number(site)
    power = op("Exp", x)
    small = op("Mul", op("Tanh", op("Mul", x, number(site, 0.5))), op("Add", power, one))
    return op("Where", op("Greater", op("Abs", x), one), op("Sub", power, one), small)


def _erfc(site: Site, x: str) -> str:
    """1 - erf x, whose tail has the digits of 1, as in the models that PyTorch exports."""
    return site.graph.op("Sub", number(site), site.graph.op("Erf", x))


def _is_finite(site: Site, x: str) -> str:
    return site.graph.op("Less", site.graph.op("Abs", x), number(site, np.inf))


def _round(site: Site, x: str) -> str:
    op = site.graph.op
    if int(site.params["rounding_method"]) == 1:  # halves to even, as Round does
        return op("Round", x)
    size = op("Abs", x)
    whole = op("Floor", size)
    is_up = op("GreaterOrEqual", op("Sub", size, whole), number(site, 0.5))
    return op("Mul", op("Sign", x), op("Where", is_up, op("Add", whole, number(site)), whole))


def _cbrt(site: Site, x: str) -> str:
    op = site.graph.op
    return op("Mul", op("Sign", x), op("Pow", op("Abs", x), number(site, 1 / 3)))


def _atan2(site: Site, y: str, x: str) -> str:
    """The angle of (x, y): atan(y / x), and π more or less where x < 0."""
    op, zero = site.graph.op, number(site, 0.0)
    is_zero = op("Equal", x, zero)
    angle = op("Atan", op("Div", y, op("Where", is_zero, number(site), x)))
    half = op("Where", op("Less", y, zero), number(site, -np.pi), number(site, np.pi))
    turned = op("Where", op("Less", x, zero), op("Add", angle, half), angle)
    upright = op("Mul", op("Sign", y), number(site, np.pi / 2))
    return op("Where", is_zero, upright, turned)


def _integer_pow(site: Site, x: str) -> str:
    power = site.params["y"]
    return (
        site.graph.op("Mul", x, x) if power == 2 else site.graph.op("Pow", x, number(site, power))
    )


ELEMENTWISE: dict[str, Callable[..., str]] = {
    "square": lambda site, x: site.graph.op("Mul", x, x),
    "exp2": lambda site, x: site.graph.op("Pow", number(site, 2.0), x),
    "log1p": _log1p,
    "expm1": _expm1,
    "erfc": _erfc,
    "is_finite": _is_finite,
    "round": _round,
    "cbrt": _cbrt,
    "atan2": _atan2,
    "rem": lambda site, x, y: site.graph.op("Mod", x, y, fmod=1),
    "clamp": lambda site, low, x, high: site.graph.op("Min", site.graph.op("Max", x, low), high),
    "integer_pow": _integer_pow,
}
"""Each primitive by its name."""
