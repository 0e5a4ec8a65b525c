"""Everyone who takes part: rnnjax's variants and the peers, as one list."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from benchmarks.ours import variant_net, variants
from benchmarks.peers import PEERS, installed, peer_program
from benchmarks.problem import Pass, Problem
from benchmarks.program import Family, Program, jax_program


class Contestant(NamedTuple):
    """A name for JSON, a label for people, and how its program is built."""

    name: str
    label: str
    family: Family
    build: Callable[[Problem, Pass], Program]


def contestants(
    methods: Iterable[str] | None = None,
    peers: Iterable[str] | None = None,
    gradients: Iterable[str] = (),
) -> tuple[list[Contestant], dict[str, str]]:
    """Those that run here, rnnjax first, and why others do not; None means all."""
    found: list[Contestant] = []
    own, own_reasons = variants(methods, gradients)
    for variant in own:

        def build(problem: Problem, which: Pass, variant=variant) -> Program:
            net = variant_net(problem, variant)
            return jax_program(str(variant), net, problem, which, "rnnjax")

        found.append(Contestant(str(variant), f"rnnjax {variant}", "rnnjax", build))
    names, peer_reasons = installed(peers)
    for name in names:
        peer = PEERS[name]
        found.append(Contestant(name, peer.label, peer.family, partial(peer_program, name)))
    reasons = {f"rnnjax {name}": reason for name, reason in own_reasons.items()}
    reasons |= {PEERS[name].label: reason for name, reason in peer_reasons.items()}
    return found, reasons
