"""What the parts of a page are made from: a run, and what of it the page shows."""

import re
from typing import Any, cast

import numpy as np

from rnnjax._types import Cell, Rule
from rnnjax.experiments.illustrate._lines import Illustration, Line
from rnnjax.experiments.illustrate._mathml import with_math
from rnnjax.experiments.illustrate._notation import names_in, spoken, spoken_prose
from rnnjax.experiments.illustrate._put_in import UNIT, Slot, entry_of
from rnnjax.experiments.illustrate._run import Problem, Run
from rnnjax.experiments.illustrate._shown import Axis, shown
from rnnjax.experiments.illustrate._source import Listing, lines_of, listing_of

PHASES = ("forward", "backward", "sums")
NORM = "‖dh_t‖"


class Content:
    """A run and the shapes of its arrays, as a page shows them."""

    def __init__(
        self, cell: Cell, illustration: Illustration, problem: Problem, run: Run, made_from: str
    ):
        self.cell, self.illustration = cell, illustration
        norms = [np.linalg.norm(step["dh_t"]).reshape(1, 1) for step in run.steps]
        steps = [s | {NORM: norm} for s, norm in zip(run.steps, norms, strict=True)]
        self.run = run._replace(steps=steps)
        self.made_from = made_from
        self.steps, self.inputs = problem.xs.shape
        self.hidden = problem.targets.shape[1]
        self.axes = {
            name: self._axes(shape) for name, (_, shape) in illustration.symbols.items()
        } | {NORM: (Axis(1), Axis(1))}
        self.listing: Listing = listing_of(cast(Rule, cell.rule))  # `illustrate` refuses others
        self.lines: list[tuple[str, Line]] = [
            (phase, line) for phase in PHASES for line in getattr(illustration, phase)
        ]
        self.forward_names = {line.name for line in illustration.forward} | {
            "x_t", "τ_t", *(f"{k}_{{t-1}}" for k in illustration.carry.values())
        }  # fmt: skip

    def _axes(self, shape: str) -> tuple[Axis, Axis]:
        """The axes of an array [rows, columns] of the stated shape: "H", "D × 4H"."""
        *rows, columns = shape.split(" × ")
        return (self._axis(rows[0]) if rows else Axis(1)), self._axis(columns)

    def _axis(self, text: str) -> Axis:
        count, size = re.fullmatch(r"(\d*)([HD]?)", text).groups()  # pyright: ignore
        sizes = {"H": self.hidden, "D": self.inputs, "": 1}
        return Axis(sizes[size], int(count or 1) if size else 1)

    def data(self) -> dict[str, Any]:
        """What the page's script reads: all numbers, in full precision."""
        run = self.run
        return {
            "units": [k + 1 for k in Axis(self.hidden).of_block],
            "weights": self._shown(run.weights),
            "steps": [self._shown(step) for step in run.steps],
            "sums": self._shown(run.sums),
            "lines": [self._line_data(phase, line) for phase, line in self.lines],
            "symbols": {
                name: [with_math(meaning), self.shape(name)]
                for name, (meaning, _) in self.illustration.symbols.items()
            },
        }

    def _shown(self, values: dict[str, Any]) -> dict[str, list[list[float]]]:
        return {name: shown(value, self.axes[name]) for name, value in values.items()}

    def _line_data(self, phase: str, line: Line) -> dict[str, Any]:
        reads = names_in(line.equation.value)
        return {
            "phase": phase,
            "name": line.name,
            "reads": reads,
            "kept": [name for name in reads if name in self.forward_names],
            "column": str(entry_of(self.axes[line.name]).column),
            "spoken": f"{spoken_prose(line.meaning)} {spoken(line.text)}.",
            "code": lines_of(self.listing, line, phase != "forward"),
        }

    def shape(self, name: str) -> str:
        """The shape in numbers: "[2, 12]"."""
        rows, columns = self.axes[name]
        stated = self.illustration.symbols[name][1]
        sizes = [rows.size] if "×" in stated else []
        return f"[{', '.join(map(str, [*sizes, columns.size * columns.blocks]))}]"

    def value(self, slot: Slot) -> float:
        """The number in a place of the page at its first step, for the first unit."""
        row, column = (0 if place == UNIT else place for place in (slot.row, slot.column))
        for values in (self.run.steps[slot.step or 0], self.run.weights, self.run.sums):
            if slot.key in values:
                return shown(values[slot.key], self.axes[slot.key])[int(row)][int(column)]
        raise KeyError(slot.key)
