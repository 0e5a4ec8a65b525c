"""rnnjax: recurrent networks in JAX, with every gradient right and shown to be."""

from importlib import import_module
from typing import TYPE_CHECKING

from rnnjax import (
    cells as cells,
    combinators as combinators,
    extend as extend,
    flow as flow,
    gradients as gradients,
    interop as interop,
    methods as methods,
    online as online,
    scenarios as scenarios,
)
from rnnjax._execution import (
    BaseGradient as BaseGradient,
    Gradient as Gradient,
    Method as Method,
)
from rnnjax._params import (
    num_params as num_params,
)
from rnnjax._types import (
    Around as Around,
    Cell as Cell,
    Linear as Linear,
    Rule as Rule,
    Structure as Structure,
)
from rnnjax._version import (
    __version__ as __version__,
)
from rnnjax.cells import *  # every cell: its factory, params and carry
from rnnjax.combinators import (
    LearnedCarryParams as LearnedCarryParams,
    fixed_dt as fixed_dt,
    input_dropout as input_dropout,
    learned_carry as learned_carry,
    recurrent_dropout as recurrent_dropout,
    residual as residual,
    stack as stack,
    wrap as wrap,
    zoneout as zoneout,
)
from rnnjax.gradients import (
    autodiff as autodiff,
    bptt as bptt,
    checkpointed as checkpointed,
    reversible as reversible,
    truncated as truncated,
    truncated_williams_peng as truncated_williams_peng,
    truncated_window as truncated_window,
)
from rnnjax.methods import (
    associative as associative,
    auto as auto,
    cudnn as cudnn,
    deer as deer,
    native as native,
    sequential as sequential,
)
from rnnjax.saving import (
    load as load,
    save as save,
)
from rnnjax.unrolling import (
    Layer as Layer,
    bidirectional as bidirectional,
    recurrent as recurrent,
    serial as serial,
    step_with_reset as step_with_reset,
    unroll as unroll,
)

if TYPE_CHECKING:
    from rnnjax import experiments as experiments, tasks as tasks, training as training

# Imported when they are first asked for: they need more than JAX.
_LAZY = ("experiments", "tasks", "training")


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return import_module(f"rnnjax.{name}")
    raise AttributeError(f"module 'rnnjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
