"""Equations in MathML: with their symbols, and with places for the values of one unit."""

import re
from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

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

_PARTS = re.compile(r"(d(?=[^\W\d_]))?([^\W\d_])(?:_\{?([^}⁺]+)\}?)?(⁺?)")
UNIT = "u"  # the place of the chosen unit in what is shown of its axis
Place = int | str
Axes = Mapping[str, tuple[Axis, Axis]]  # of every name


def parts_of(key: str) -> tuple[str, str, list[str], str]:
    """A name's d, letter, characters of the subscript, and ⁺."""
    found = _PARTS.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} is no name")
    d, letter, index, plus = found.groups(default="")
    return d, letter, ["−" if c == "-" else c for c in index], plus


def symbol(key: str) -> str:
    """A name as it is typeset."""
    d, letter, index, plus = parts_of(key)
    base = f"<mi>{letter}</mi>"
    sub = "".join(_index(c) for c in index)
    sub = f"<mrow>{sub}</mrow>" if len(index) > 1 else sub
    sup = "<mo>+</mo>" if plus else ""
    if sub and sup:
        base = f"<msubsup>{base}{sub}{sup}</msubsup>"
    elif sub:
        base = f"<msub>{base}{sub}</msub>"
    if d:
        base = f'<mrow><mi mathvariant="normal">d</mi>{base}</mrow>'
    return f'<mrow class="sym" data-s="{escape(key)}">{base}</mrow>'


def _index(c: str) -> str:
    if c == "−":
        return '<mo lspace="0" rspace="0">−</mo>'
    tag = "mn" if c.isdigit() else "mi"
    return f"<{tag}>{c}</{tag}>"


def math(content: str) -> str:
    """An inline piece of MathML."""
    return f"<math>{content}</math>"


def operator(text: str) -> str:
    """An operator, with its space also where it begins or ends a piece."""
    form = ' form="infix"' if text in ("=", "+", "−", "⊙", "·") else ""
    form = ' stretchy="false"' if text in ("(", ")") else form
    return f"<mo{form}>{text}</mo>"


def in_symbols(equation: Equation) -> list[str]:
    """The equation in pieces between which a line may break."""
    first, *rest = _terms(equation.value)
    head = symbol(equation.name) + operator("=") + first[1]
    if len(first[1]) > 400:  # a long term starts on a line of its own where it must
        return [
            symbol(equation.name) + operator("="),
            first[1],
            *(operator(s) + term for s, term in rest),
        ]
    return [head, *(operator(sign) + term for sign, term in rest)]


def of_value(value: Expression) -> str:
    """An expression in symbols."""
    return _symbols(value)


def _terms(value: Expression) -> list[tuple[str, str]]:
    terms = value.terms if isinstance(value, Sum) else (("+", value),)
    return [(sign, _symbols(term)) for sign, term in terms]


def _symbols(value: Expression, inside: bool = False) -> str:
    match value:
        case Number(text):
            return "<mfrac><mn>1</mn><mn>2</mn></mfrac>" if text == "½" else f"<mn>{text}</mn>"
        case Name(key):
            return symbol(key)
        case Transposed(of):
            return f"<msup>{symbol(of.key)}<mi>⊤</mi></msup>"
        case Squared(of):
            return _squared(of.key)
        case Applied(function, squared, of):
            return _function(function, squared) + _bracketed(_symbols(of))
        case Product(left, right, sign):
            between = operator(sign) if sign else '<mspace width="0.17em"/>'
            return f"{_symbols(left, True)}{between}{_symbols(right, True)}"
        case Sum(terms):
            pieces = [operator(s) + _symbols(t) for s, t in terms]
            text = "".join(pieces).removeprefix(operator("+"))
            return _bracketed(text) if inside else text
        case Blocks(parts):
            return operator("[") + operator(",").join(symbol(p.key) for p in parts) + operator("]")
        case OverTime(of):
            return f"<munder><mo>∑</mo><mi>t</mi></munder>{_symbols(of)}"


def _squared(key: str) -> str:
    """h_t² with the 2 above the index."""
    _, letter, index, _ = parts_of(key)
    sub = "".join(_index(c) for c in index)
    two = "<mn>2</mn>"
    base = f"<mi>{letter}</mi>"
    body = (
        f"<msubsup>{base}<mrow>{sub}</mrow>{two}</msubsup>" if sub else f"<msup>{base}{two}</msup>"
    )
    return f'<mrow class="sym" data-s="{escape(key)}">{body}</mrow>'


def _function(name: str, squared: bool) -> str:
    name = f"<mi>{name}</mi>"
    return f"<msup>{name}<mn>2</mn></msup>" if squared else name


def _bracketed(text: str) -> str:
    return f"<mrow>{operator('(')}{text}{operator(')')}</mrow>"


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
                return _symbols(value)
            case Name(key):
                return self.slot(key, at, guarded=inside)
            case Transposed(of):
                return self.slot(of.key, Entry(at.column, at.row), guarded=inside)
            case Squared(of):
                return f"<msup>{self.slot(of.key, at, guarded=True)}<mn>2</mn></msup>"
            case Applied(function, squared, of):
                return _function(function, squared) + _bracketed(self.write(of, at))
            case Product(Number() as number, right, _):
                return self.write(number, at) + self.write(right, at, True)
            case Product(left, right, "⊙"):
                return self.write(left, at, True) + operator("·") + self.write(right, at, True)
            case Product(left, right, _):
                return self._inner(left, right, at)
            case Sum(terms):
                pieces = [operator(s) + self.write(t, at, n > 0) for n, (s, t) in enumerate(terms)]
                text = "".join(pieces).removeprefix(operator("+"))
                return _bracketed(text) if inside else text
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
