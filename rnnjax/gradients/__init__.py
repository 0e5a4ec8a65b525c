"""How to differentiate a recurrence: values to pass as `unroll(..., gradient=...)`."""

from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.gradients._clip import clip_by_norm, clip_by_value

__all__ = ["autodiff", "bptt", "clip_by_norm", "clip_by_value"]
