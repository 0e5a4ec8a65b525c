"""How to execute a recurrence: values to pass as `unroll(..., method=...)`."""

from collections.abc import Callable

from rnnjax.methods._associative import associative
from rnnjax.methods._auto import Auto, Explanation, Plan, auto, bind, explain, resolve, with_carries
from rnnjax.methods._cudnn import cudnn, why_not as _why_not_cudnn
from rnnjax.methods._deer import Solution, deer, solve
from rnnjax.methods._native import native
from rnnjax.methods._native_library import instruction_set, why_not as _why_not_native
from rnnjax.methods._sequential import sequential

AVAILABILITY: dict[str, Callable[[], str | None]] = {
    "sequential": lambda: None,
    "associative": lambda: None,
    "deer": lambda: None,
    "native": _why_not_native,
    "cudnn": _why_not_cudnn,
}
"""Why each method cannot run here, by name; None where it can."""

__all__ = [
    "AVAILABILITY",
    "Auto",
    "Explanation",
    "Plan",
    "Solution",
    "associative",
    "auto",
    "bind",
    "cudnn",
    "deer",
    "explain",
    "instruction_set",
    "native",
    "resolve",
    "sequential",
    "solve",
    "with_carries",
]
