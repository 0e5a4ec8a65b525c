"""Equations with places for the values of one unit, in MathML."""

from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

from rnnjax.experiments.illustrate._mathml import bracketed, function_name, of_value, operator
from rnnjax.experiments.illustrate._notation import (
    Applied,
    Blocks,
    Equation,
    Expression,
    Name,
    Number,
    OverTime,
    Product,
    Squared,
    Sum,
    Transposed,
)
from rnnjax.experiments.illustrate._shown import Axis

UNIT = "u"  # the place of the chosen unit in what is shown of its axis
Place = int | str
Axes = Mapping[str, tuple[Axis, Axis]]  # of every name


class Slot(NamedTuple):
    """A place on the page for one number."""

    key: str
    row: Place = 0
    column: Place = 0
    step: int | None = None  # the chosen one if None
    guarded: bool = False  # a negative number stands in brackets

    @property
    def attributes(self) -> str:
        step = "" if self.step is None else f' data-t="{self.step}"'
        guarded = ' data-p=""' if self.guarded else ""
        return (
            f'data-v="{escape(self.key)}" data-r="{self.row}" data-c="{self.column}"{step}{guarded}'
        )

    @property
    def mathml(self) -> str:
        return f"<mn {self.attributes}></mn>"


class Entry(NamedTuple):
    """Which entry of the result is written out."""

    row: Place
    column: Place


def entry_of(axes: tuple[Axis, Axis]) -> Entry:
    """The chosen unit's; of a matrix in the first row; of a number the number."""
    return Entry(0, UNIT if axes[1].size * axes[1].blocks > 1 else 0)


def with_values(equation: Equation, axes: Axes, steps: int) -> list[str]:
    """The right-hand side for one entry, in pieces between which a line may break."""
    writer = _Writer(axes, steps)
    at = entry_of(axes[equation.name])
    value = equation.value
    if isinstance(value, OverTime) and isinstance(value.of, Name):
        each = [writer.slot(value.of.key, at, t, guarded=t > 0) for t in range(steps)]
        return [each[0], *(operator("+") + one for one in each[1:])]
    terms = value.terms if isinstance(value, Sum) else (("+", value),)
    pieces = [writer.write(t, at, inside=n > 0) for n, (_, t) in enumerate(terms)]
    signs = ["", *(operator(sign) for sign, _ in terms[1:])]
    return [sign + piece for sign, piece in zip(signs, pieces, strict=True)]


class _Writer:
    def __init__(self, axes: Axes, steps: int):
        self.axes, self.steps = axes, steps

    def slot(self, key: str, at: Entry, step: int | None = None, guarded: bool = False) -> str:
        return Slot(key, at.row, at.column, step, guarded).mathml

    def write(self, value: Expression, at: Entry, inside: bool = False) -> str:
        match value:
            case Number():
                return of_value(value)
            case Name(key):
                return self.slot(key, at, guarded=inside)
            case Transposed(of):
                return self.slot(of.key, Entry(at.column, at.row), guarded=inside)
            case Squared(of):
                return f"<msup>{self.slot(of.key, at, guarded=True)}<mn>2</mn></msup>"
            case Applied(function, squared, of):
                return function_name(function, squared) + bracketed(self.write(of, at))
            case Product(Number() as number, right, _):
                return self.write(number, at) + self.write(right, at, True)
            case Product(left, right, "⊙"):
                return self.write(left, at, True) + operator("·") + self.write(right, at, True)
            case Product(left, right, _):
                return self._inner(left, right, at)
            case Sum(terms):
                pieces = [operator(s) + self.write(t, at, n > 0) for n, (s, t) in enumerate(terms)]
                text = "".join(pieces).removeprefix(operator("+"))
                return bracketed(text) if inside else text
            case Blocks(parts):
                return _vector([self.slot(part.key, at) for part in parts], None, False)
            case OverTime(Product(Transposed(left), Name(right), _)):
                over = range(self.steps)
                row = [self.slot(left.key, Entry(0, at.row), t) for t in over]
                column = [self.slot(right, Entry(0, at.column), t) for t in over]
                return _vector(row, None, False) + _vector(column, None, True)
            case _:
                raise ValueError(f"no values can be put into {value}")

    def _inner(self, left: Any, right: Any, at: Entry) -> str:
        """One entry of a matrix product: a row times a column."""
        axis = self.axes[left.key][1]
        row = [self.slot(left.key, Entry(at.row, k)) for k in range(len(axis.indices))]
        if isinstance(right, Transposed):
            places = [Entry(at.column, k) for k in range(len(axis.indices))]
            column = [self.slot(right.of.key, place) for place in places]
        else:
            places = [Entry(k, at.column) for k in range(len(axis.indices))]
            column = [self.slot(right.key, place) for place in places]
        return _vector(row, axis.gap, False) + _vector(column, axis.gap, True)


def _vector(entries: list[str], gap: int | None, column: bool) -> str:
    """Numbers in brackets, one beside or below the other."""
    if gap is not None:
        entries = [*entries[:gap], operator("⋮" if column else "⋯"), *entries[gap:]]
    cells = [f"<mtd>{entry}</mtd>" for entry in entries]
    rows = [f"<mtr>{cell}</mtr>" for cell in cells] if column else [f"<mtr>{''.join(cells)}</mtr>"]
    return f"<mrow>{operator('[')}<mtable>{''.join(rows)}</mtable>{operator(']')}</mrow>"
