"""Gradient flow: how the error signal vanishes or explodes on its way back through time.

Measures of a net are taken in float64, whatever the dtype of its params: float32 underflows to zero
long before the smallest errors that are told apart here. Where `jax_enable_x64` is off they are
NumPy arrays, since JAX would round them to float32. Where a measure is part of a program of the
caller's, within `jax.jit`, `grad` or `vmap`, it is taken in the dtype of the params.
"""

from rnnjax.flow._bound import Bound, pascanu_bound
from rnnjax.flow._clipped_steps import clipped_steps
from rnnjax.flow._clipping import Clipping, clipping
from rnnjax.flow._fit import half_life
from rnnjax.flow._fixed_points import FixedPoints, fixed_points
from rnnjax.flow._flossing import flossing
from rnnjax.flow._jacobians import jacobians
from rnnjax.flow._lyapunov import lyapunov_spectrum
from rnnjax.flow._norms import features_norm, gradient_norms
from rnnjax.flow._paths import Paths, gates, paths
from rnnjax.flow._precision import Precision, precision
from rnnjax.flow._predictability import Predictability, predictability
from rnnjax.flow._ratios import pascanu_ratios
from rnnjax.flow._record import Recording, record
from rnnjax.flow._recurrence import Recurrence
from rnnjax.flow._regularizer import pascanu_regularizer
from rnnjax.flow._relu_points import relu_fixed_points
from rnnjax.flow._sensitivity import sensitivity
from rnnjax.flow._spectrum import SingularValues, log_singular_values
from rnnjax.flow._truncation import Truncation, truncation_length
from rnnjax.flow._verdict import Verdict, verdict
from rnnjax.flow._watch import Watch, watch
from rnnjax.flow._watched import Watched, read_watch

__all__ = [
    "Bound",
    "Clipping",
    "FixedPoints",
    "Paths",
    "Precision",
    "Predictability",
    "Recording",
    "Recurrence",
    "SingularValues",
    "Truncation",
    "Verdict",
    "Watch",
    "Watched",
    "clipped_steps",
    "clipping",
    "features_norm",
    "fixed_points",
    "flossing",
    "gates",
    "gradient_norms",
    "half_life",
    "jacobians",
    "log_singular_values",
    "lyapunov_spectrum",
    "pascanu_bound",
    "pascanu_ratios",
    "pascanu_regularizer",
    "paths",
    "precision",
    "predictability",
    "read_watch",
    "record",
    "relu_fixed_points",
    "sensitivity",
    "truncation_length",
    "verdict",
    "watch",
]
