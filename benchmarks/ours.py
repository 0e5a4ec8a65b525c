"""rnnjax's own programs: every method that is available here, and its gradients."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import rnnjax
from benchmarks.problem import ALL_CELLS, Problem, Unsupported
from benchmarks.program import Net

ONLY_BY_NAME = {"deer": "it has a benchmark of its own, python -m benchmarks.deer"}


class Variant(NamedTuple):
    """A method, and a gradient where it is not the default one."""

    method: str
    gradient: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.gradient}" if self.gradient else self.method


def variants(
    methods: Iterable[str] | None = None, gradients: Iterable[str] = ()
) -> tuple[list[Variant], dict[str, str]]:
    """The variants that run here, and why others do not.

    `methods` None means all but those of ONLY_BY_NAME, whose memory the larger problems exceed.

    They come from `rnnjax.methods.AVAILABILITY`, so that a new method is timed as soon as it
    exists; `auto()`, which chooses among them, is what a user gets. `sequential()` comes with
    both of its gradients, any other method with its default; and each with those of `gradients`,
    such as "checkpointed".
    """
    available = {**rnnjax.methods.AVAILABILITY, "auto": lambda: None}
    chosen = list(available if methods is None else methods)
    found: list[Variant] = []
    reasons: dict[str, str] = {}
    for method in chosen:
        if method not in available:
            raise ValueError(f"a method is one of {', '.join(available)}, got {method!r}")
        reason = available[method]() or (methods is None and ONLY_BY_NAME.get(method)) or None
        if reason is not None:
            reasons[method] = reason
        elif method == "sequential":
            found += [Variant(method, "bptt"), Variant(method, "autodiff")]
        else:
            found.append(Variant(method))
        if reason is None:
            found += [Variant(method, name) for name in gradients]
    return found, reasons


def variant_net(problem: Problem, variant: Variant) -> Net:
    """The variant's net; `Unsupported` if `unroll` refuses, in its own words, when it is run."""
    return our_net(problem, **variant_options(variant))


def variant_options(variant: Variant) -> dict[str, Any]:
    """The variant's options for `unroll`."""
    method = getattr(rnnjax.methods, variant.method)()
    offered = getattr(method, "gradients", ("bptt",))
    name = variant.gradient or (None if "bptt" in offered else offered[0])
    return {"method": method, "gradient": name and getattr(rnnjax.gradients, name)()}


def our_net(problem: Problem, method: Any, gradient: rnnjax.Gradient | None) -> Net:
    """Cells and layers of rnnjax with the problem's weights, executed and differentiated so."""
    cell = ALL_CELLS[problem.cell](problem.size.H)
    layer = {
        "plain": lambda: rnnjax.recurrent(cell),
        "ragged": lambda: rnnjax.recurrent(cell),
        "layers2": lambda: rnnjax.serial(cell, cell),
        "bidirectional": lambda: rnnjax.bidirectional(cell, cell),
    }[problem.size.form]()
    options: dict[str, Any] = {"method": method, "gradient": gradient}

    def apply(params: Any, xs: Any, lengths: Any) -> Any:
        try:
            return layer.apply(params, xs, lengths=lengths, **options)[1]
        except ValueError as error:
            raise Unsupported(str(error)) from error

    if len(problem.blocks) == 1:
        return Net(problem.blocks[0], apply, lambda gradients: (gradients,))
    return Net(problem.blocks, apply, tuple)
