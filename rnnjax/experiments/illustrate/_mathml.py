"""Names, equations and prose in MathML."""

import re
from html import escape

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
    parse,
    parse_value,
)

_PARTS = re.compile(r"(d(?=[^\W\d_]))?([^\W\d_])(?:_\{?([^}⁺]+)\}?)?(⁺?)")


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
    return [head, *(operator(sign) + term for sign, term in rest)]


def with_math(text: str) -> str:
    """Prose in which what stands in backticks is typeset."""
    words = text.split("`")
    return "".join(_typeset(word) if n % 2 else escape(word) for n, word in enumerate(words))


def _typeset(text: str) -> str:
    if " = " in text:
        return math("".join(in_symbols(parse(text))))
    before, slope, name = text.rpartition("∂C/∂")
    if slope:
        return math(f"<mo>∂</mo><mi>C</mi><mo>/</mo><mo>∂</mo>{symbol(name)}")
    return math(of_value(parse_value(before + name)))


def _terms(value: Expression) -> list[tuple[str, str]]:
    terms = value.terms if isinstance(value, Sum) else (("+", value),)
    return [(sign, of_value(term)) for sign, term in terms]


def of_value(value: Expression, inside: bool = False) -> str:
    """An expression; a sum `inside` a product stands in brackets."""
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
            return function_name(function, squared) + bracketed(of_value(of))
        case Product(left, right, sign):
            between = operator(sign) if sign else '<mspace width="0.17em"/>'
            return f"{of_value(left, True)}{between}{of_value(right, True)}"
        case Sum(terms):
            pieces = [operator(s) + of_value(t) for s, t in terms]
            text = "".join(pieces).removeprefix(operator("+"))
            return bracketed(text) if inside else text
        case Blocks(parts):
            return operator("[") + operator(",").join(symbol(p.key) for p in parts) + operator("]")
        case OverTime(of):
            return f"<munder><mo>∑</mo><mi>t</mi></munder>{of_value(of)}"


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


def function_name(name: str, squared: bool) -> str:
    """σ, tanh, or tanh² before its argument."""
    name = f"<mi>{name}</mi>"
    return f"<msup>{name}<mn>2</mn></msup>" if squared else name


def bracketed(text: str) -> str:
    """Round brackets."""
    return f"<mrow>{operator('(')}{text}{operator(')')}</mrow>"
