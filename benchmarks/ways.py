"""Every gradient and every method, once: what `methods` times and what its page tabulates.

A newcomer is one line here. Its name is the call as one writes it after `import rnnjax`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

import rnnjax
from rnnjax import online


class Gradient(NamedTuple):
    """A value of `unroll(..., gradient=...)`, and what it is known for."""

    value: Any
    family: str  # of FAMILIES
    wraps: bool = False  # whether it is timed over native() too
    timed: bool = True


class Way(NamedTuple):
    """One gradient over one method; None for the method's own."""

    name: str
    family: str
    gradient: Any
    method: Any


_KEY = jax.random.key(0)
FAMILIES = ("exact", "exact, less memory", "exact, parallel in time", "truncated", "forwards")
GRADIENTS: dict[str, Gradient] = {
    "autodiff()": Gradient(rnnjax.autodiff(), "exact"),
    "bptt()": Gradient(rnnjax.bptt(), "exact"),
    "bptt(clip_by_value(1.0))": Gradient(
        rnnjax.bptt(rnnjax.gradients.clip_by_value(1.0)), "exact", timed=False
    ),
    "checkpointed()": Gradient(rnnjax.checkpointed(), "exact, less memory", wraps=True),
    "checkpointed(levels=2)": Gradient(rnnjax.checkpointed(levels=2), "exact, less memory"),
    "reversible()": Gradient(rnnjax.reversible(), "exact, less memory"),
    "truncated(20)": Gradient(rnnjax.truncated(20), "truncated", wraps=True),
    "truncated_window(20)": Gradient(rnnjax.truncated_window(20), "truncated"),
    "truncated_williams_peng(40, 20)": Gradient(
        rnnjax.truncated_williams_peng(40, 20), "truncated"
    ),
    "online.rtrl()": Gradient(online.rtrl(), "forwards"),
    "online.snap(1)": Gradient(online.snap(1), "forwards"),
    "online.snap(2)": Gradient(online.snap(2), "forwards"),
    "online.eprop()": Gradient(online.eprop(), "forwards"),
    "online.rflo()": Gradient(online.rflo(), "forwards"),
    "online.uoro(key)": Gradient(online.uoro(_KEY), "forwards"),
    "online.kf_rtrl(key)": Gradient(online.kf_rtrl(_KEY), "forwards"),
}
METHODS: dict[str, Any] = {
    "sequential()": rnnjax.sequential(),
    "native()": rnnjax.native(),
    "associative()": rnnjax.associative(),
    "deer()": rnnjax.deer(),
}
PARALLEL = ("associative()", "deer()")  # those that do not take T steps in a row


def ways() -> Iterator[Way]:
    """Every gradient by `sequential()`, every other method by its own gradient, and the gradients
    that wrap others over `native()`."""
    for name, (value, family, _, timed) in GRADIENTS.items():
        if timed:
            yield Way(name, family, value, METHODS["sequential()"])
    for name, method in METHODS.items():
        if name != "sequential()":
            family = "exact, parallel in time" if name in PARALLEL else "exact"
            yield Way(name, family, None, method)
    for name, (value, family, wraps, _) in GRADIENTS.items():
        if wraps:
            yield Way(f"{name} over native()", family, value, METHODS["native()"])
