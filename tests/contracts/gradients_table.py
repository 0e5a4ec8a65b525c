"""The table of gradients × methods: each pair agrees, or is refused with its stated message."""

from collections.abc import Callable
from typing import NamedTuple

from rnnjax import (
    associative,
    autodiff,
    bptt,
    checkpointed,
    deer,
    native,
    online,
    sequential,
    truncated,
    truncated_williams_peng,
    truncated_window,
)
from rnnjax.gradients import clip_by_value


class Gradient(NamedTuple):
    value: object
    like: object = None  # the base in a plain scan that it equals
    reach: Callable[[int], int] | None = None  # how far the cost of step i goes back, if not to 0
    of: tuple[str, ...] = ("params", "xs", "carry")  # what it differentiates with respect to

    @property
    def is_online(self) -> bool:
        return len(self.of) < 3


class Method(NamedTuple):
    value: object
    serves: Callable[[object], bool]  # whether it runs a base gradient
    refusal: str = ""  # what it says otherwise


def to_an_even_step(i: int) -> int:
    return i // 2 * 2


GRADIENTS: dict[str, Gradient] = {
    "default": Gradient(None, bptt()),
    "autodiff": Gradient(autodiff(), autodiff()),
    "bptt": Gradient(bptt(), bptt()),
    "bptt_clip": Gradient(bptt(clip_by_value(0.1)), bptt(clip_by_value(0.1))),
    "checkpointed": Gradient(checkpointed(), bptt()),
    "checkpointed_2": Gradient(checkpointed(2), bptt()),
    "checkpointed_autodiff": Gradient(checkpointed(2, autodiff()), autodiff()),
    "checkpointed_levels": Gradient(checkpointed(levels=2), bptt()),
    "checkpointed_twice": Gradient(checkpointed(3, checkpointed(2)), bptt()),
    "truncated": Gradient(truncated(2), reach=to_an_even_step),
    "truncated_autodiff": Gradient(truncated(2, autodiff()), reach=to_an_even_step),
    "truncated_checkpointed": Gradient(truncated(2, checkpointed(1)), reach=to_an_even_step),
    "truncated_beyond": Gradient(truncated(100), bptt()),
    "window": Gradient(truncated_window(2), reach=lambda i: i - 1),
    "williams_peng": Gradient(
        truncated_williams_peng(3, 2, checkpointed(1)), reach=lambda i: i // 2 * 2 - 1
    ),
    "rtrl": Gradient(online.rtrl(), bptt(), of=("params", "carry")),
    "truncated_rtrl": Gradient(
        truncated(2, online.rtrl()), None, to_an_even_step, ("params", "carry")
    ),
    "snap_beyond": Gradient(online.snap(9), bptt(), of=("params",)),  # no path takes as many steps
}
METHODS: dict[str, Method] = {
    "sequential": Method(sequential(), lambda base: True),
    "native": Method(
        native(),
        lambda base: base in (None, bptt()),
        r"native\(\) cannot run this.*autodiff|clip|rtrl|snap",
    ),
    "associative": Method(
        associative(),
        lambda base: base in (None, autodiff(), bptt()),
        r"no loop in which δ_t could|its own derivative is exact",
    ),
    "deer": Method(
        deer(),
        lambda base: base in (None, autodiff(), bptt()),
        r"no loop in which δ_t could|its own derivative is exact",
    ),
}
