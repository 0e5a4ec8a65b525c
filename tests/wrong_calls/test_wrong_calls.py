"""Wrong calls of every public function: their errors say what is wrong, and none runs in silence.

A new public function needs a valid call in one of the tables, from which the wrong ones are made.
"""

import contextlib
import inspect
from collections import Counter
from importlib.util import find_spec

import pytest
from registries import registries_kept

import rnnjax
from rnnjax import cells, combinators, extend, flow, gradients, interop, methods, online, scenarios
from rnnjax.experiments import data, illustrate, tasks, training

CORE = (rnnjax, cells, cells.initializers, combinators, extend, gradients, methods, online)
OTHERS = (flow, scenarios, interop, data, illustrate, tasks, training)
NOT_FOR_USERS = {"bind", "import_module", "inner_cell", "with_carries"} | {
    "without_learned_carries",
    *("mask", "piece_of", "run_of"),  # what `unroll` calls, and extensions of it
}
NEED_PEERS = {"from_onnx": "onnx", "to_onnx": "onnx"}


def public_functions(*modules):
    for module in modules:
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            if inspect.isfunction(value) and not name.startswith("_"):
                yield name


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    import valid_calls_core  # which run what they call: not while tests are collected
    import valid_calls_experiments
    import valid_calls_use

    files = valid_calls_experiments.calls(tmp_path_factory.mktemp("files"))
    return {**valid_calls_core.CALLS, **valid_calls_use.CALLS, **files}


@pytest.fixture(scope="module")
def found(calls, tmp_path_factory):
    from wrong_calls import outcomes

    # In a folder of their own: one that is not refused may write a file by a wrong name.
    with contextlib.chdir(tmp_path_factory.mktemp("here")), registries_kept():
        return [o for name, call in calls.items() for o in outcomes(name, call)]


def test_every_public_function_has_a_valid_call(calls):
    missing = set(public_functions(*CORE, *OTHERS)) - set(calls) - NOT_FOR_USERS
    missing -= {name for name, peer in NEED_PEERS.items() if find_spec(peer) is None}
    assert not missing, f"add a valid call of each to the tables: {sorted(missing)}"


def test_no_wrong_call_is_accepted(found):
    assert [o for o in found if o.kind == "wrong"] == []


def test_errors_of_wrong_calls_say_what_is_wrong(found):
    unclear = [o for o in found if o.kind == "unclear"]
    assert len(unclear) <= 0.05 * len(found), unclear
    assert Counter(o.kind for o in found)["clear"] > 0.8 * len(found)
