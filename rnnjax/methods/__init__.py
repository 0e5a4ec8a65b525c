"""How to execute a recurrence: values to pass as `unroll(..., method=...)`."""

from rnnjax.methods._sequential import sequential

__all__ = ["sequential"]
