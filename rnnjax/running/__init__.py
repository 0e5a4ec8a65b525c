"""From a user's arguments to a loop: validation, masks, freezing and restarting, the state."""

from rnnjax._params import input_dtypes
from rnnjax.running._around import around
from rnnjax.running._flagged import (
    Flagged,
    RestartCarry,
    beside_features,
    final_carry,
    freezing,
    restarting,
    select,
    zeros_like,
)
from rnnjax.running._revealing import revealing
from rnnjax.running._scan import Scan
from rnnjax.running._sequence import (
    Masked,
    blank,
    fill_padding,
    fill_with,
    mask,
    one_after_another,
    prepare,
    restart_carry,
    validate,
    validate_shaped,
    within,
)
from rnnjax.running._shapes import in_float32, leading_shape
from rnnjax.running._sharding import check_automatic, vary_along, varying_axes
from rnnjax.running._skipping import close_up, flip_steps, lay_out_carries, lay_out_outputs
from rnnjax.running._state import (
    accumulation_dtype,
    chosen_leaves,
    leaf_indices,
    pack,
    push,
    unpack,
)

__all__ = [
    "Flagged",
    "Masked",
    "RestartCarry",
    "Scan",
    "accumulation_dtype",
    "around",
    "beside_features",
    "blank",
    "check_automatic",
    "chosen_leaves",
    "close_up",
    "fill_padding",
    "fill_with",
    "final_carry",
    "flip_steps",
    "freezing",
    "in_float32",
    "input_dtypes",
    "lay_out_carries",
    "lay_out_outputs",
    "leading_shape",
    "leaf_indices",
    "mask",
    "one_after_another",
    "pack",
    "prepare",
    "push",
    "restart_carry",
    "restarting",
    "revealing",
    "select",
    "unpack",
    "validate",
    "validate_shaped",
    "vary_along",
    "varying_axes",
    "within",
    "zeros_like",
]
