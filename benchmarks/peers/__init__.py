"""The libraries beside rnnjax. Each file converts a problem's weights and builds programs."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

from benchmarks.problem import CELLS, Pass, Problem, Unsupported
from benchmarks.program import Family, Program


class Peer(NamedTuple):
    """A library: what its rows are called, what is imported, what pip calls it."""

    label: str
    package: str
    distribution: str
    family: Family = "jax"


PEERS: dict[str, Peer] = {
    "nnx": Peer("Flax nnx", "flax", "flax"),
    "linen": Peer("Flax linen", "flax", "flax"),
    "equinox": Peer("Equinox", "equinox", "equinox"),
    "haiku": Peer("Haiku", "haiku", "dm-haiku"),
    "keras": Peer("Keras on JAX", "keras", "keras"),
    "torch": Peer("PyTorch", "torch", "torch", "torch"),
}


def installed(names: Iterable[str] | None = None) -> tuple[list[str], dict[str, str]]:
    """The peers that can be imported, and why others cannot; `names` None means all."""
    chosen = list(PEERS if names is None else names)
    unknown = [name for name in chosen if name not in PEERS]
    if unknown:
        raise ValueError(f"a peer is one of {', '.join(PEERS)}, got {', '.join(unknown)}")
    missing = {name for name in chosen if find_spec(PEERS[name].package) is None}
    reasons = {n: f"not installed: pip install {PEERS[n].distribution}" for n in sorted(missing)}
    return [name for name in chosen if name not in missing], reasons


def peer_program(name: str, problem: Problem, which: Pass) -> Program:
    """The peer's program; `Unsupported` where the peer does not compute this."""
    if problem.cell not in CELLS:
        raise Unsupported(f"{PEERS[name].label} has no {problem.cell}")
    module = import_module(f"benchmarks.peers.{name}_peer")
    return module.program(name, problem, which)
