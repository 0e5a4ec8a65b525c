"""Gradients and methods print as the call that makes them."""

import pytest
from jax.lax import Precision

import rnnjax
from rnnjax.gradients import clip_by_norm, clip_by_value


def scale(delta):
    return delta / 2


NAMES = {**vars(rnnjax), "clip_by_value": clip_by_value, "clip_by_norm": clip_by_norm}
NAMES |= {"scale": scale, "Precision": Precision}


@pytest.mark.parametrize(
    "text",
    [
        "autodiff()",
        "bptt()",
        "bptt(clip=clip_by_value(1.0))",
        "bptt(clip=clip_by_norm(0.5))",
        "bptt(clip=scale)",
        "truncated(20)",
        "truncated(20, autodiff())",
        "truncated_window(20)",
        "truncated_williams_peng(20, 5, bptt())",
        "checkpointed()",
        "truncated(6, checkpointed(3, bptt()))",
        "checkpointed(None, bptt())",
        "auto()",
        "sequential()",
        "sequential(unroll=4, hoist=True)",
        "native()",
        "associative()",
        "cudnn()",
        "cudnn(precision=Precision.HIGH)",
    ],
)
def test_prints_as_it_is_written(text):
    value = eval(text, NAMES)
    assert repr(value) == str(value) == text
    assert eval(repr(value), NAMES) == value
