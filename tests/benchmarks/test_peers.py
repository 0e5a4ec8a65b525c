"""Every peer, with the converted weights, computes the float64 reference's answer."""

from functools import cache

import jax
import pytest
import small_programs

from benchmarks.contestants import contestants
from benchmarks.ours import variants
from benchmarks.peers import PEERS, installed, peer_program
from benchmarks.problem import CELLS, FORMS, PASSES, Size, Unsupported, make_problem
from benchmarks.reference import reference, worst_error

CASES = [(peer, cell, "plain") for peer in PEERS for cell in CELLS]
CASES += [(peer, "lstm", form) for peer in PEERS for form in FORMS[1:]]


@pytest.fixture(autouse=True)
def as_users_run_them(monkeypatch):
    """Peers promote ranks, and mix dtypes where float64 is on; what they compute is not XLA's."""
    monkeypatch.setattr(small_programs, "limit", small_programs.SMALL)
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        yield


@cache
def exact(cell, form, which):
    problem = make_problem(cell, Size(5, 3, 2, 4, form))
    return problem, reference(problem, which)


@pytest.mark.parametrize(("peer", "cell", "form"), CASES)
def test_a_peer_computes_the_same(peer, cell, form):
    if installed([peer])[1]:
        pytest.skip(f"{peer} is not installed")
    for which in PASSES if form == "plain" else ("train",):
        problem, answer = exact(cell, form, which)
        try:
            program = peer_program(peer, problem, which)
        except Unsupported as reason:
            pytest.skip(str(reason))
        error, worst = worst_error(program.answer(program.run()), answer)
        assert error < 1e-5, worst


def test_own_variants_come_from_the_methods_that_are_available():
    found, absent = contestants(methods=["sequential"], peers=[])
    assert [c.name for c in found] == ["sequential bptt", "sequential autodiff"]
    assert not absent
    with pytest.raises(ValueError, match="a method is one of sequential"):
        variants(["magic"])
