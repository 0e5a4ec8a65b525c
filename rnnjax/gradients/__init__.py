"""How to differentiate a recurrence: values to pass as `unroll(..., gradient=...)`, and checks."""

from rnnjax.gradients._autodiff import autodiff
from rnnjax.gradients._bptt import bptt
from rnnjax.gradients._check import CheckReport, CheckRow, ValueRow, check
from rnnjax.gradients._checkpointed import checkpointed
from rnnjax.gradients._clip import clip_by_norm, clip_by_value
from rnnjax.gradients._error import ErrorReport, ErrorRow, error
from rnnjax.gradients._pieces import piece_of
from rnnjax.gradients._reversible import reversible
from rnnjax.gradients._run import run_of
from rnnjax.gradients._truncated import truncated, truncated_williams_peng, truncated_window
from rnnjax.gradients._unfolded import Unfolded, unfolded

__all__ = [
    "CheckReport",
    "CheckRow",
    "ErrorReport",
    "ErrorRow",
    "Unfolded",
    "ValueRow",
    "autodiff",
    "bptt",
    "check",
    "checkpointed",
    "clip_by_norm",
    "clip_by_value",
    "error",
    "piece_of",
    "reversible",
    "run_of",
    "truncated",
    "truncated_williams_peng",
    "truncated_window",
    "unfolded",
]
