"""The catalogue of cells: one page made from the registry, from docstrings and from the cells.

Equations, variants and references are those of the docstrings; shapes and their meaning stand
beside the fields of params, carry and tape; what runs a cell is asked of each method and gradient.
Gradient flow alone is measured, once, and kept beside the page.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from benchmarks.markdown import grid
from benchmarks.ways import GRADIENTS, METHODS
from rnnjax import extend, flow
from rnnjax.cells import FACTORIES
from rnnjax.combinators import COMBINATORS

PAGE, MEASURED = "catalogue.md", "catalogue.json"
H, D = 32, 16
T, B, BURN_IN = 100, 16, 50
# Arguments and inputs of the cells whose first argument is not their width alone.
EXAMPLES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "lstm_projected": ((H, 16), D),
    "ctrnn": ((H,), (D, ())),
    "conv_lstm": ((4, (8, 8)), (8, 8, 2)),
}
FAMILIES = {
    "gated": "Gated cells",
    "simple": "Simple cells",
    "linear": "Cells that are linear in their state",
    "spatial": "Cells on images",
}
_INTRODUCTION = f"""# Catalogue of cells

Every cell of `rnnjax` with its equations, its params and state, what it keeps for the backward
pass, what runs it, and how its gradient flows before any training; then what makes cells from
cells. `python -m benchmarks catalogue` writes this page from docstrings, signatures and the cells
themselves, and a test holds it to them.

- **Weights and tape** are those of the call in each cell's section, {H} units where the width is
  free and {D} inputs. The tape is what `bptt()` keeps of each step and example, in float32.
- **Run by**: the methods that run it besides `sequential()` and `deer()`, which run any cell.
- **Gradient flow**: one error w · y_T with w ~ N(0, 1), followed back over {T} steps of white
  noise, x_t ~ N(0, 1), in float64: the label of `flow.verdict` over {B} examples and the whole
  carry, and its half-life, the steps in which it halves; negative: those in which it doubles. λ₁ is
  the largest Lyapunov exponent in nats a step, over the last {T - BURN_IN} steps, a median over the
  examples; −∞ where a perturbation is exactly zero, e.g. once every ReLU unit has been inactive.
  All of it for one draw of the initial weights: training moves it.
"""


def example(name: str) -> tuple[rnnjax.Cell, Any]:
    """The cell of a section, and the features of its inputs."""
    arguments, inputs = EXAMPLES.get(name, ((H,), D))
    return FACTORIES[name](*arguments), inputs


def catalogue(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, with what `measure` found of each cell."""
    with jax.enable_x64(True):
        parts = [_INTRODUCTION, "## All cells\n", _summary(measured), ""]
        for family, title in FAMILIES.items():
            names = [name for name in FACTORIES if _family(name) == family]
            parts += [f"## {title}\n", *(_section(name, measured[name]) for name in names)]
        parts += ["## Combinators\n", *map(_combinator, COMBINATORS)]
    return "\n".join(parts).rstrip() + "\n"


def write(folder: Path, cells: list[str], progress: Callable[[Any], Any] = iter) -> None:
    """Measure the cells named, and write the page and its numbers into the folder."""
    numbers = folder / MEASURED
    found = json.loads(numbers.read_text("utf-8")) if numbers.exists() else {}
    for name in progress(cells):
        found[name] = measure(name)
    found = {name: found[name] for name in FACTORIES}
    numbers.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    (folder / PAGE).write_text(catalogue(found), "utf-8")


def measure(name: str) -> dict[str, Any]:
    """How the gradient flows through a cell at its initial weights; see the page."""
    cell, inputs = example(name)
    if name == "ctrnn":
        cell, inputs = rnnjax.fixed_dt(cell, 0.2), D
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        params = cell.init(keys[0], inputs)
        features = inputs if isinstance(inputs, tuple) else (inputs,)
        xs = jax.random.normal(keys[1], (T, B, *features))
        y_t = jax.eval_shape(lambda: rnnjax.unroll(cell, params, xs)[1][-1])
        weights = jax.random.normal(keys[2], y_t.shape)

        def cost(carry: Any, ys: Any) -> Any:
            del carry
            return jnp.sum(weights * ys[-1])

        norms = flow.gradient_norms(flow.record(cell, params, xs, cost, last=True))
        verdict = flow.verdict(norms)
        exponents = flow.lyapunov_spectrum(cell, params, xs, 1, burn_in=BURN_IN)
    return {
        "label": verdict.label,
        "half_life": _rounded(verdict.half_life),
        "lyapunov": _rounded(float(np.median(exponents))),
    }


def _rounded(number: float) -> float | None:
    """Two significant digits, none of them beyond the thousandths; None for what is infinite."""
    return float(f"{round(number, 3):.2g}") + 0.0 if math.isfinite(number) else None


def _family(name: str) -> str:
    return FACTORIES[name].__module__.split(".")[2]


def _summary(measured: Mapping[str, Any]) -> str:
    heads = [
        "cell",
        "what it is",
        "run by",
        "gradient flow",
        "half-life",
        "λ₁",
        "weights",
        "tape, B",
    ]
    lines = []
    for name in sorted(FACTORIES, key=lambda name: list(FAMILIES).index(_family(name))):
        cell, inputs = example(name)
        params, carry, tape = shapes(cell, inputs)
        lines.append([
            f"[`{name}`](#{name})",
            _docstring(FACTORIES[name])[0].split(":")[0].rstrip("."),
            ", ".join(f"`{method}`" for method in _methods(cell, params, carry, inputs)) or "–",
            measured[name]["label"],
            _half_life(measured[name]),
            _exponent(measured[name]),
            f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}",
            f"{_bytes(tape):,}",
        ])  # fmt: skip
    return grid(heads, lines, left=4)


def _half_life(found: Mapping[str, Any]) -> str:
    steps = found["half_life"]
    return "–" if steps is None or found["label"] == "constant" else f"{steps:g}".replace("-", "−")


def _flow(found: Mapping[str, Any]) -> str:
    steps = _half_life(found)
    return found["label"] if steps == "–" else f"{found['label']}, half-life {steps} steps"


def _exponent(found: Mapping[str, Any]) -> str:
    if found["lyapunov"] is None:
        return "−∞"
    return f"{round(found['lyapunov'], 2) + 0.0:.2f}".replace("-", "−")


def _section(name: str, measured: Mapping[str, Any]) -> str:
    make, (cell, inputs) = FACTORIES[name], example(name)
    params, carry, tape = shapes(cell, inputs)
    first, text, references = _docstring(make)
    size = f"{_bytes(tape):,} bytes" if _bytes(tape) else "nothing"
    methods = ["sequential()", "deer()", *_methods(cell, params, carry, inputs)]
    at = "fixed_dt(ctrnn(32), 0.2)" if name == "ctrnn" else repr(cell)
    return "\n".join([
        f"### {name}\n",
        f"{first}\n",
        _markdown(text),
        _fields("params", params, make),
        _fields("carry", carry, make),
        f"- **Call**: `{name}{_signature(make)}`",
        f"- **Tape**: {_tape_words(tape)}{size} for `{cell!r}`",
        f"- **Methods**: {', '.join(f'`{method}`' for method in methods)}",
        f"- **Gradients**: {_gradients(cell)}",
        f"- **Gradient flow** of `{at}`: {_flow(measured)}; λ₁ = {_exponent(measured)}",
        *(f"- **Source**: {work}" for work in references),
        "",
    ])  # fmt: skip


def _combinator(name: str) -> str:
    first, text, references = _docstring(COMBINATORS[name])
    lines = [f"### {name}\n", f"{first}\n", _markdown(text)]
    lines.append(f"- **Call**: `{name}{_signature(COMBINATORS[name])}`")
    return "\n".join([*lines, *(f"- **Source**: {work}" for work in references), ""])


def _docstring(make: Any) -> tuple[str, str, list[str]]:
    """The first sentence, what else is said before the arguments, and the references."""
    first, _, rest = (inspect.getdoc(make) or "").partition("\n\n")
    sections = re.split(r"^(Args|Returns|Raises|Example|References):$", rest, flags=re.MULTILINE)
    works: list[str] = []
    if "References" in sections:
        listed = sections[sections.index("References") + 1]
        # Each begins with a capital letter, after the full stop of the one before it.
        works = re.split(r"(?<=\.)\n+(?=[A-ZÀ-Ž])", inspect.cleandoc("\n" + listed))
    return " ".join(first.split()), sections[0].strip("\n"), [" ".join(w.split()) for w in works]


def _markdown(text: str) -> str:
    """Prose as it is, and indented blocks of equations in fences."""
    parts = re.split(r"((?:^(?: {4}.*)?\n)*^ {4}.*$)", text, flags=re.MULTILINE)
    made = []
    for part in filter(str.strip, parts):
        if part.lstrip("\n").startswith("    "):
            made.append(f"```text\n{inspect.cleandoc(part)}\n```\n")
        else:
            made.append(part.strip("\n") + "\n")
    return "\n".join(made)


def _fields(title: str, value: Any, make: Any) -> str:
    """The fields of a NamedTuple: name, and what the source says beside it.

    Where cells share it, the docstring of the factory says which shapes are another's.
    """
    stated = re.search(rf"{type(value).__name__}\(([^)]*)\)", inspect.getdoc(make) or "")
    own = dict(re.findall(r"(\w+) (\[.*?\])", stated[1])) if stated else {}
    lines = []
    for field in value._fields:
        shape, words = _comment(type(value), field)
        lines.append([f"`{title}.{field}`", f"`{own.get(field, shape)}`" if shape else "", words])
    return grid([title, "shape", ""], lines, left=3) + "\n"


def _comment(kind: type, field: str) -> tuple[str, str]:
    """The shape and the words of the comment beside a field."""
    found = re.search(rf"^    {field}: .*?#(.*)$", inspect.getsource(kind), re.MULTILINE)
    comment = "" if found is None else found[1].strip().removeprefix("Array").strip()
    shape, words = re.match(r"(\[.*?\])?,?\s*(.*)", comment).groups()  # pyright: ignore
    return shape or "", words.replace("|", r"\|")


def shapes(cell: rnnjax.Cell, inputs: Any) -> tuple[Any, Any, Any]:
    """The shapes of the params, of one example's carry, and of what one step saves."""
    rule: Any = cell.rule

    def made() -> tuple[Any, Any, Any]:
        params = cell.init(jax.random.key(0), inputs)
        carry = cell.initial_carry(params, ())
        return params, carry, rule.forward(params, carry, rule.project(params, _x_t(inputs)))[1]

    return jax.eval_shape(made)


def _x_t(inputs: Any) -> Any:
    """One example's input at one step, of zeros."""
    if isinstance(inputs, tuple) and not all(isinstance(size, int) for size in inputs):
        return tuple(map(_x_t, inputs))
    return jnp.zeros(inputs)


def _bytes(tape: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tape)) // 2  # of float64


def _tape_words(tape: Any) -> str:
    """What the docstring of the tape says of its size."""
    said = " ".join((inspect.getdoc(type(tape)) or "").split())
    found = re.match(r"Saved at every step: (.*?)(?:;|\. |\.?$)", said)
    return f"{found[1]}; " if found else ""


def _methods(cell: rnnjax.Cell, params: Any, carry: Any, inputs: Any) -> list[str]:
    """The methods that run it, without those that run any cell."""
    xs = jax.tree.map(lambda x: x[None], _x_t(inputs))
    sequence = extend.Sequence(xs, carry, carry, None, None)
    found = [
        name
        for name, method in METHODS.items()
        if name not in ("sequential()", "deer()")
        and method.refusal(cell, None, params, sequence) is None
    ]
    return [*found, "cudnn()"] if extend.known(cell).form == "lstm" else found


def _gradients(cell: rnnjax.Cell) -> str:
    """All, or all but those that refuse it."""
    refused = [
        name
        for name, gradient in GRADIENTS.items()
        if gradient.value.base is not None and gradient.value.base.refusal(cell)
    ]
    names = ", ".join(f"`{name}`" for name in refused)
    return f"all but {names}" if refused else "all"


def _signature(make: Any) -> str:
    """The arguments with their defaults, without types."""
    parameters = inspect.signature(make).parameters.values()
    plain = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    return str(inspect.Signature(plain))
