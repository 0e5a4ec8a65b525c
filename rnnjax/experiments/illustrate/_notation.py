"""The notation of the derivations, as in the docstrings of the cells: read, and evaluated.

    c_t = f ⊙ c_{t-1} + i ⊙ g            ⊙ multiplies entry by entry
    z_i = x_t W_xi + h_{t-1} W_hi + b_i  one name after another is a matrix product
    δ_t = [δ_i, δ_f, δ_g, δ_o]           side by side in the last axis
    dW_x = Σ_t x_tᵀ δ_t                  over all steps

Vectors are rows [1, n], so that x_tᵀ δ_t is an outer product. A name that begins with d is the
gradient of the cost with respect to what follows; ⁺ marks the part of it that comes back from the
step after.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

Env = Mapping[str, Any]  # arrays [rows, columns] by name


class Number(NamedTuple):
    text: str  # as written: "1", "½"


class Name(NamedTuple):
    key: str


class Transposed(NamedTuple):
    of: Name


class Squared(NamedTuple):
    of: Name


class Applied(NamedTuple):
    function: str  # a key of FUNCTIONS
    squared: bool
    of: "Expression"


class Product(NamedTuple):
    left: "Expression"
    right: "Expression"
    sign: str  # "⊙" entry by entry, "" a matrix product


class Sum(NamedTuple):
    terms: tuple[tuple[str, "Expression"], ...]  # each with its sign, "+" or "−"


class Blocks(NamedTuple):
    parts: tuple[Name, ...]


class OverTime(NamedTuple):
    of: "Expression"


Expression = Number | Name | Transposed | Squared | Applied | Product | Sum | Blocks | OverTime


class Equation(NamedTuple):
    name: str  # what is computed
    value: Expression


FUNCTIONS = {
    "σ": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "relu′": lambda z: np.where(z > 0, 1.0, 0.0),
}
NUMBERS = {"½": 0.5, "1": 1.0}
_TOKEN = re.compile(
    r"\s*(Σ_t|(?:σ|tanh|relu′?)²?(?=\()|[½1]|d?[^\W\d_](?:_(?:\{[^}]*\}|[a-z0-9]+))?⁺?|[⊙+−()\[\],²ᵀ])"
)


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"cannot read {text[at:]!r} in {text!r}")
        tokens.append(found[1])
        at = found.end()
    return tokens


def parse(text: str) -> Equation:
    """Read an equation: a name, =, and an expression."""
    name, equals, value = text.partition(" = ")
    if not equals:
        raise ValueError(f"expected an equation, got {text!r}")
    return Equation(name, parse_value(value))


def parse_value(text: str) -> Expression:
    """Read an expression."""
    reader = _Reader(_tokens(text))
    value = reader.sum()
    if reader.tokens:
        raise ValueError(f"cannot read {' '.join(reader.tokens)} in {text!r}")
    return value


_ENDS = ("", "+", "−", ")", "]", ",")


class _Reader:
    """Recursive descent over the tokens of an expression."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens

    def sum(self) -> Expression:
        terms = [("+", self.product())]
        while self._next() in ("+", "−"):
            terms.append((self.tokens.pop(0), self.product()))
        return terms[0][1] if len(terms) == 1 else Sum(tuple(terms))

    def product(self) -> Expression:
        if self._next() == "Σ_t":
            self.tokens.pop(0)
            return OverTime(self.product())
        value = self.factor()
        if isinstance(value, Number) and self._next() not in _ENDS:
            return Product(value, self.product(), "")
        while self._next() not in _ENDS:
            sign = self.tokens.pop(0) if self._next() == "⊙" else ""
            value = Product(value, self.factor(), sign)
        return value

    def factor(self) -> Expression:
        token = self.tokens.pop(0)
        if token == "(":
            value = self.sum()
            if self._next() != ")":
                raise ValueError("a bracket is not closed")
            self.tokens.pop(0)
            return value
        if token == "[":
            parts = [Name(self.tokens.pop(0))]
            while self.tokens.pop(0) == ",":
                parts.append(Name(self.tokens.pop(0)))
            return Blocks(tuple(parts))
        if token.rstrip("²") in FUNCTIONS:
            return Applied(token.rstrip("²"), token.endswith("²"), self.factor())
        if token in NUMBERS:
            return Number(token)
        after = {"ᵀ": Transposed, "²": Squared}.get(self._next())
        if after is not None:
            self.tokens.pop(0)
            return after(Name(token))
        return Name(token)

    def _next(self) -> str:
        return self.tokens[0] if self.tokens else ""


def evaluate(value: Expression, env: Any) -> Any:
    """The value of an expression at one step, an `Env`; of a Σ_t over a list of them."""
    match value:
        case OverTime(of):
            return sum(evaluate(of, step) for step in env)
        case Number(text):
            return NUMBERS[text]
        case Name(key):
            return env[key]
        case Transposed(of):
            return env[of.key].T
        case Squared(of):
            return env[of.key] ** 2
        case Applied(function, squared, of):
            return FUNCTIONS[function](evaluate(of, env)) ** (2 if squared else 1)
        case Product(left, right, sign):
            a, b = evaluate(left, env), evaluate(right, env)
            return a * b if sign or isinstance(left, Number) else a @ b
        case Sum(terms):
            return sum(evaluate(v, env) if s == "+" else -evaluate(v, env) for s, v in terms)
        case Blocks(parts):
            return np.concatenate([env[part.key] for part in parts], axis=-1)


def names_in(value: Expression) -> tuple[str, ...]:
    """The names that an expression reads, in order, each once."""
    return tuple(dict.fromkeys(_names(value)))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Name):
        yield value.key
    elif isinstance(value, tuple):
        for part in value:
            yield from _names(part)


_SPOKEN = (
    (r"∂C/∂", "gradient of "),
    (r"_\{t-1\}", " t minus 1"),
    (r"⁺", " from the next step"),
    (r"ᵀ", " transposed"),
    (r"²", " squared"),
    (r"\bd(?=[^\W\d_])", "gradient of "),
    (r"⊙", "times"),
    (r" − ", " minus "),
    (r"−", "minus "),
    (r"½", "one half"),
    (r"Σ_t", "sum over t of"),
    (r"σ\(", "sigmoid of ("),
    (r"relu′\(", "slope of relu at ("),
    (r"δ", "delta"),
    (r"ε", "epsilon"),
    (r"τ", "target"),
    (r"_\{?([^\s}]+)\}?", r" \1"),
)


def spoken(text: str) -> str:
    """An equation or a name in words, for a screen reader."""
    for pattern, word in _SPOKEN:
        text = re.sub(pattern, word, text)
    return text


def spoken_prose(text: str) -> str:
    """A sentence, with what stands in backticks in words."""
    return "".join(spoken(part) if n % 2 else part for n, part in enumerate(text.split("`")))
