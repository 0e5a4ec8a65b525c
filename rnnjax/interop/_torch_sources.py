"""Where PyTorch's weights come from: a module, or the state_dict of a model that has one."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.interop._arrays import to_numpy
from rnnjax.interop._modules import check_defined_by

_MODES = {"RNN_TANH", "RNN_RELU", "LSTM", "GRU"}
_CELLS = {"RNNCell", "LSTMCell", "GRUCell"}
# weight_hh_l0, weight_hh_l1_reverse; of a Cell weight_hh
_FIRST = re.compile(r"(?:^|(?<=\.))weight_hh(_l0)?$")


def of_module(module: Any) -> dict[str, np.ndarray]:
    is_cell = type(module).__name__ in _CELLS
    if not hasattr(module, "named_parameters") or not (
        is_cell or getattr(module, "mode", None) in _MODES
    ):
        raise TypeError(
            "module must be a torch.nn.RNN, LSTM or GRU, a Cell of these, or a state_dict, got "
            f"{type(module).__name__}: pass a larger model's state_dict with prefix=, or its "
            "recurrent modules one by one"
        )
    check_defined_by(("torch",), module, "forward", "pass module.state_dict()")
    if is_cell:
        ends = [""]
    else:
        sides = ("", "_reverse") if module.bidirectional else ("",)
        ends = [f"_l{k}{side}" for k in range(module.num_layers) for side in sides]
    names = ["weight_ih", "weight_hh"]
    names += ["bias_ih", "bias_hh"] if module.bias else []
    names += ["weight_hr"] if getattr(module, "proj_size", 0) else []
    return {
        f"{name}{end or '_l0'}": _weight(module, f"{name}{end}") for end in ends for name in names
    }


def _weight(module: Any, name: str) -> np.ndarray:
    """A weight that the module computes with: a parameter, or what a parametrization makes of one.

    A weight that a hook computes before each call, as those of torch.nn.utils.prune and the older
    weight_norm and spectral_norm do, is as old as the last call.
    """
    own = dict(module.named_parameters(recurse=False))
    if name not in own and name not in getattr(module, "parametrizations", ()):
        if not own:
            raise ValueError(
                f"{type(module).__name__} has no parameters of its own, as a quantized module has "
                "none: convert the one that it was made of"
            )
        computed = ", ".join(sorted(other for other in own if other.startswith(f"{name}_")))
        raise ValueError(
            f"{name} is no parameter of the module but computed from {computed or 'others'} by a "
            "hook: make it one with torch.nn.utils.prune.remove(module, name), remove_weight_norm "
            "or remove_spectral_norm, or use torch.nn.utils.parametrizations"
        )
    return to_numpy(name, getattr(module, name))


def of_state(state: Mapping[str, Any], prefix: str | None) -> dict[str, np.ndarray]:
    """The weights of the one recurrent module with this prefix, by their names in a module."""
    inner = [name for name, entry in state.items() if isinstance(entry, Mapping)]
    if inner:
        raise ValueError(
            f"the state_dict has dicts of its own under {', '.join(map(repr, inner))}: pass one of "
            f"them, as in checkpoint[{inner[0]!r}]"
        )
    state = {str(name).replace("_orig_mod.", ""): w for name, w in state.items()}  # torch.compile's
    found = {name[: m.start()]: m[1] for name in state if (m := _FIRST.search(name))}
    if prefix is not None:
        prefix = f"{prefix.removesuffix('.')}." if prefix else ""
        found = {at: layer for at, layer in found.items() if at == prefix}
    if len(found) != 1:
        which = "no" if not found else "several"
        listed = ", ".join(repr(at.removesuffix(".")) for at in found)
        raise ValueError(
            f"the state_dict has {which} recurrent module"
            + (f"s, at {listed}: pass prefix= to say which" if found else "")
            + (f" at prefix={prefix!r}" if prefix is not None else "")
            + ("" if found else f": no weight_hh_l0 among {', '.join(list(state)[:8])} …")
        )
    ((at, layer),) = found.items()
    end = "" if layer else "_l0"
    named = {name.removeprefix(at): w for name, w in state.items() if name.startswith(at)}
    return {
        f"{name}{end}": to_numpy(f"{at}{name}", w)
        for name, w in named.items()
        if re.fullmatch(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?", name)
    }
