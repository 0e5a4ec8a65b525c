"""How to execute a recurrence: values to pass as `unroll(..., method=...)`."""

from collections.abc import Callable

from rnnjax.methods._auto import Auto, Explanation, auto, explain
from rnnjax.methods._cudnn import cudnn
from rnnjax.methods._cudnn import why_not as _why_not_cudnn
from rnnjax.methods._native import native
from rnnjax.methods._native_calls import instruction_set
from rnnjax.methods._native_calls import why_not as _why_not_native
from rnnjax.methods._sequential import sequential

AVAILABILITY: dict[str, Callable[[], str | None]] = {
    "sequential": lambda: None,
    "native": _why_not_native,
    "cudnn": _why_not_cudnn,
}
"""Why each method cannot run here, by name; None where it can."""

__all__ = [
    "AVAILABILITY",
    "Auto",
    "Explanation",
    "auto",
    "cudnn",
    "explain",
    "instruction_set",
    "native",
    "sequential",
]
