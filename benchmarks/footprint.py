"""The memory of a compiled program, as XLA itself plans it."""

from typing import Any, NamedTuple

from benchmarks.program import Program


class Footprint(NamedTuple):
    """Bytes. A custom kernel's memory outside XLA's buffers is not in it."""

    arguments: int
    outputs: int
    temporaries: int  # what the backward pass keeps of the forward pass is here

    @property
    def total(self) -> int:
        return self.arguments + self.outputs + self.temporaries


def footprint(program: Program) -> Footprint | None:
    """XLA's own analysis; None for a program that XLA does not compile."""
    if program.lower is None:
        return None
    return footprint_of(program.lower().compile())


def footprint_of(compiled: Any) -> Footprint | None:
    """That of one of JAX's compiled stages."""
    analysis: Any = compiled.memory_analysis()
    if analysis is None:
        return None
    return Footprint(
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes,
        analysis.temp_size_in_bytes,
    )
