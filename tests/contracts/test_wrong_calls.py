"""Wrong calls of every public function: their errors say what is wrong, and none runs in silence.

A new public function needs a valid call in one of the tables, from which the wrong ones are made.
"""

import inspect
from collections import Counter

import pytest
import valid_calls_core
from wrong_calls import outcomes

import rnnjax
from rnnjax import cells, combinators, gradients, methods

CORE = (rnnjax, cells, cells.initializers, combinators, gradients, methods)
NOT_FOR_USERS = {"bind", "import_module", "with_carries"}  # what `unroll` calls


def public_functions(*modules):
    for module in modules:
        for name in getattr(module, "__all__", dir(module)):
            value = getattr(module, name)
            if inspect.isfunction(value) and not name.startswith("_"):
                yield name


@pytest.fixture(scope="module")
def found():
    return [o for name, call in valid_calls_core.CALLS.items() for o in outcomes(name, call)]


def test_every_public_function_has_a_valid_call():
    missing = set(public_functions(*CORE)) - set(valid_calls_core.CALLS) - NOT_FOR_USERS
    assert not missing, f"add a valid call of each to the tables: {sorted(missing)}"


def test_no_wrong_call_is_accepted(found):
    assert [o for o in found if o.kind == "wrong"] == []


def test_errors_of_wrong_calls_say_what_is_wrong(found):
    unclear = [o for o in found if o.kind == "unclear"]
    assert len(unclear) <= 0.05 * len(found), unclear
    assert Counter(o.kind for o in found)["clear"] > 0.8 * len(found)
