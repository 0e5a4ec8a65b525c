"""Gradients forwards in time: RTRL and its approximations, for `unroll(..., gradient=...)` and, by
`learner`, for endless streams."""

from rnnjax.online._algorithms import eprop, kf_rtrl, rflo, rtrl, snap, uoro
from rnnjax.online._feedback import readout_with_feedback
from rnnjax.online._gradient import Online
from rnnjax.online._learner import (
    Learner,
    LearnerGradient,
    LearnerInit,
    LearnerState,
    LearnerStep,
    learner,
)

__all__ = [
    "Learner",
    "LearnerGradient",
    "LearnerInit",
    "LearnerState",
    "LearnerStep",
    "Online",
    "eprop",
    "kf_rtrl",
    "learner",
    "readout_with_feedback",
    "rflo",
    "rtrl",
    "snap",
    "uoro",
]
