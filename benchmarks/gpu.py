"""On a GPU: `sequential()`, `cudnn()`, `associative()` and `deer()` beside PyTorch and Flax.

All of them compute in float32, or all of them with products in TF32. What takes longest here is to
compile, so that is done by threads; then everyone is held to the reference and timed in turns.
"""

import gc
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax

import rnnjax
from benchmarks.compare import Task, admit, timed_row
from benchmarks.contestants import Contestant
from benchmarks.environment import cores
from benchmarks.ours import our_net
from benchmarks.peers import PEERS, installed, peer_program
from benchmarks.problem import Pass, Problem, Size, Unsupported, make_problem
from benchmarks.program import Answer, Program, jax_program
from benchmarks.reference import TOLERANCE, reference
from benchmarks.timing import seconds

GATED = (
    Size(100, 128, 512, 512),
    Size(1000, 1, 64, 64),
    Size(1000, 64, 256, 256),
    Size(10_000, 8, 128, 128),
    Size(100_000, 1, 64, 64),
)
LINEAR = (
    Size(100, 128, 512, 512),
    Size(1000, 64, 256, 256),
    Size(10_000, 8, 256, 256),
    Size(100_000, 1, 64, 64),
)
GRID = {"lstm": GATED, "gru": GATED, "min_gru": LINEAR, "lru": LINEAR[1:3]}
QUICK = {"lstm": (Size(5, 2, 3, 4),), "min_gru": (Size(5, 2, 3, 4),)}
BUDGET = 2**32  # bytes of Jacobians beyond which deer() does not take part
TF32_TOLERANCE = 0.1  # of gradients that were summed over a thousand steps
LONG = 20_000  # steps beyond which the reference is `sequential()` in float32


class Row(NamedTuple):
    """A problem, the programs that compute it and what is said of everyone."""

    task: Task
    programs: dict[str, Program]
    entries: dict[str, dict[str, Any]]


def gpu_contestants(tf32: bool = False) -> list[Contestant]:
    """Those that can run on a GPU; the first one is right by its tests."""
    high = jax.lax.Precision.HIGH if tf32 else jax.lax.Precision.HIGHEST
    methods = {
        "sequential": rnnjax.sequential(),
        "unrolled": rnnjax.sequential(unroll=8),
        "cudnn": rnnjax.methods.cudnn(precision=high),
        "associative": rnnjax.associative(),
        "deer": rnnjax.deer(),
    }
    found = [
        Contestant(name, f"`{_shown(method)}`", "rnnjax", partial(_ours, name, method))
        for name, method in methods.items()
    ]
    for name in installed(("nnx", "torch"))[0]:
        peer = PEERS[name]
        found.append(Contestant(name, peer.label, peer.family, partial(peer_program, name)))
    return found


def _shown(method: Any) -> str:
    return str(method).partition("(precision")[0] + ("()" if "(precision" in str(method) else "")


def _ours(name: str, method: Any, problem: Problem, which: Pass) -> Program:
    units = problem.size.H * (2 if problem.cell == "lstm" else 1)
    linear = problem.cell not in ("lstm", "gru")
    if name == "deer":
        needed = 4 * problem.size.T * problem.size.B * units**2
        if linear:
            raise Unsupported("a linear cell is solved by associative()")
        if needed > BUDGET:
            raise Unsupported("T·B·S² numbers are more than 4 GiB")
    if name == "unrolled" and not (linear or problem.size.T == 1000):
        raise Unsupported("left out: it takes a minute to compile")
    net = our_net(problem, method, None)
    return jax_program(name, net, problem, which, "rnnjax")


def prepare(tasks: Iterable[Task], found: list[Contestant], tf32: bool = False) -> list[Row]:
    """Build, compile and check everyone, side by side."""
    limit = TF32_TOLERANCE if tf32 else TOLERANCE
    with ThreadPoolExecutor(min(16, cores())) as pool:
        problems = {task: make_problem(task.cell, task.size) for task in tasks}
        exact = {task: pool.submit(_exact, found[0], p, task) for task, p in problems.items()}
        made = {
            task: [pool.submit(_admit, c, problems[task], task, exact[task], limit) for c in found]
            for task in problems
        }
        rows: list[Row] = []
        for task, futures in made.items():
            results = [future.result() for future in futures]
            names = [entry["name"] for _, entry in results]
            programs = {n: p for n, (p, _) in zip(names, results, strict=True) if p is not None}
            entries = {n: e for n, (_, e) in zip(names, results, strict=True)}
            rows.append(Row(task, programs, entries))
    return rows


def _exact(first: Contestant, problem: Problem, task: Task) -> Answer:
    if problem.size.T <= LONG:
        return reference(problem, task.which)
    program = first.build(problem, task.which)
    return program.answer(program.run())


def _admit(
    contestant: Contestant, problem: Problem, task: Task, exact: Future[Answer], limit: float
) -> tuple[Program | None, dict[str, Any]]:
    answer = exact.result()
    begin = time.perf_counter()
    program, entry = admit(contestant, problem, task.which, answer, limit)
    return program, entry | {"first_s": time.perf_counter() - begin}


def timed(row: Row, budget: float) -> dict[str, Any]:
    """A row of results, as `compare` has them."""
    times = _in_turns({name: program.run for name, program in row.programs.items()}, budget)
    return timed_row(row.task, row.entries, row.programs, times)


def _in_turns(programs: dict[str, Callable[[], Any]], budget: float) -> dict[str, list[float]]:
    """Seconds of each; what takes longer than the budget is run twice."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    gc.collect()
    end = time.perf_counter() + budget
    for rounds in range(500):
        if rounds >= 2 and time.perf_counter() > end:
            break
        for name, run in programs.items():
            times[name].append(seconds(run))
    return times
