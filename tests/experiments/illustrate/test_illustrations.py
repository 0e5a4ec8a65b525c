"""Every number on an illustrated page is what the library computes; every line has its place."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.experiments.illustrate import ILLUSTRATIONS, illustrate
from rnnjax.experiments.illustrate._lines import Illustration, Line
from rnnjax.experiments.illustrate._notation import (
    evaluate,
    names_in,
    parse,
    spoken,
    spoken_prose,
)
from rnnjax.experiments.illustrate._run import Problem, compute
from rnnjax.experiments.illustrate._shown import Axis, printed
from rnnjax.experiments.illustrate._source import lines_of, listing_of
from rnnjax.experiments.illustrate._verify import verify

D, H, T = 2, 3, 4
CELLS = {name: getattr(rnnjax, name)(H) for name in ILLUSTRATIONS}
each_cell = pytest.mark.parametrize("name", ILLUSTRATIONS)


def problem_of(name):
    rng = np.random.default_rng(1)
    cell = CELLS[name]
    shapes = jax.tree.map(
        lambda shape: tuple(D if n == "D" else n for n in shape),
        cell.structure.params,
        is_leaf=lambda node: type(node) is tuple,
    )
    params = jax.tree.map(
        lambda s: 0.7 * rng.standard_normal(s), shapes, is_leaf=lambda n: type(n) is tuple
    )
    carry = jax.tree.map(lambda c: rng.standard_normal(c.shape), cell.initial_carry(params, ()))
    return Problem(params, rng.standard_normal((T, D)), rng.standard_normal((T, H)), carry)


def page_of(name):
    return illustrate(CELLS[name], *problem_of(name)[:3], carry=problem_of(name).carry)


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def close(got, want):
    np.testing.assert_allclose(np.ravel(got), np.ravel(want), rtol=1e-10, atol=1e-14)


@each_cell
def test_numbers_in_the_page_are_those_of_the_step_and_of_bptt(name, eager):
    cell, problem, illustration = CELLS[name], problem_of(name), ILLUSTRATIONS[name]
    data = data_of(page_of(name))

    def cost(params, xs, carry):
        bptt = rnnjax.gradients.bptt()
        _, ys = rnnjax.unroll(
            cell, params, xs, carry=carry, gradient=bptt, method=rnnjax.methods.sequential()
        )
        return jnp.sum((ys - problem.targets) ** 2) / 2

    value, cts = jax.value_and_grad(cost, (0, 1, 2))(*problem[:2], problem.carry)
    carry = problem.carry
    for x, step in zip(problem.xs, data["steps"], strict=True):
        carry, y = cell.step(problem.params, carry, x)
        close(step["y_t"], y)
        for field, letter in illustration.carry.items():
            close(step[f"{letter}_t"], getattr(carry, field))
        close(step["‖dh_t‖"], np.linalg.norm(step["dh_t"]))
    close(sum(step["C_t"][0][0] for step in data["steps"]), value)
    close([step["dx_t"] for step in data["steps"]], cts[1])
    for field, sums in illustration.gradients.items():
        close(data["sums"][sums], getattr(cts[0], field))
    for field, letter in illustration.carry.items():
        close(data["steps"][0][f"d{letter}_{{t-1}}⁺"], getattr(cts[2], field))


@each_cell
def test_every_backward_line_is_the_derivative_of_the_cost(name):
    """By complex steps through the forward lines alone."""
    illustration, problem = ILLUSTRATIONS[name], problem_of(name)
    run = compute(illustration, problem)
    read = {f"d{k}_{{t-1}}⁺": f"{k}_{{t-1}}" for k in illustration.carry.values()}
    named = {line.name for line in illustration.forward} | {"x_t"}
    compared = set()
    for line in illustration.backward:
        target = read.get(line.name, line.name[1:])
        if line.name[0] == "δ" and "[" not in line.text:
            (target,) = (a for a in (f"z{line.name[1:]}", f"a{line.name[1:]}") if a in named)
        if target not in named | set(read.values()):
            continue
        compared.add(line.name)
        for t in (0, 2):
            got = run.steps[t][line.name]
            want = [slope(illustration, problem, run, t, target, k) for k in range(got.size)]
            close(got, want)
    side_by_side = {"δ_t", "ε_t"} - compared
    assert compared == {line.name for line in illustration.backward} - side_by_side


def slope(illustration, problem, run, t, target, k):
    """∂C/∂target[k] at step t: the rest of the net, run with a tiny imaginary part in it."""
    cost = 0
    before = None
    for now in range(t, T):
        step = {"x_t": problem.xs[now][None], "τ_t": problem.targets[now][None]}
        for letter in illustration.carry.values():
            key = f"{letter}_{{t-1}}"
            step[key] = run.steps[now][key] if before is None else before[f"{letter}_t"]
        names = [*step, *(line.name for line in illustration.forward)]
        lines = {line.name: line.equation.value for line in illustration.forward}
        for key in names:
            if key in lines:
                step[key] = evaluate(lines[key], run.weights | step)
            if now == t and key == target:
                step[key] = step[key].astype(complex)
                step[key][0, k] += 1e-30j
        cost += step["C_t"][0, 0]
        before = step
    return cost.imag / 1e-30


@each_cell
def test_page_prints_the_numbers_of_its_data(name, eager):
    page = page_of(name)
    data = data_of(page)
    slots = re.findall(
        r'data-v="(.*?)" data-r="(\w+)" data-c="(\w+)"(?: data-t="(\d+)")?( data-p="")?>(.*?)<',
        page,
    )
    assert len(slots) > 100
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for key, row, column, t, guarded, text in slots:
        step = data["steps"][int(t or 0)]
        values = next(v[key] for v in (step, data["weights"], data["sums"]) if key in v)
        value = values[0 if row == "u" else int(row)][0 if column == "u" else int(column)]
        negative = guarded and value < 0
        assert text == (f"({printed(value)})" if negative else printed(value)), key


@each_cell
def test_what_is_put_in_gives_the_result(name, eager):
    """The arithmetic that stands on the page is carried out, for unit 2 at step 3."""
    page = page_of(name)
    data = data_of(page)
    t, unit = 2, 1
    values = {**data["weights"], **data["sums"], **data["steps"][t]}

    def number(found):
        key, row, column, step = found.groups()
        array = data["steps"][int(step)][key] if step else values[key]
        row = unit % len(array) if row == "u" else int(row)
        column = unit % len(array[0]) if column == "u" else int(column)
        return f"({array[row][column]!r}),"  # the comma parts the entries of a vector

    written = re.findall(r'<div class="values">(.*?)</div>', page, re.DOTALL)
    for line, text in zip(data["lines"], written, strict=True):
        text = re.sub(r"^<math>.*?</math>", "", text)  # the name, and =
        slot = r'<mn data-v="(.*?)" data-r="(\w+)" data-c="(\w+)"(?: data-t="(\d+)")?.*?>.*?</mn>'
        text = re.sub(slot, number, text)
        for pattern, python in _PYTHON:
            text = re.sub(pattern, python, text)
        value, _, result = re.sub("<.*?>", "", text).partition("==")
        got = eval(value, {"np": np})
        if result:
            close(got, eval(result))
        else:  # side by side
            close(got, values[line["name"]][0][unit::H])


_PYTHON = (
    (r"<mo>\[</mo><mtable>(.*?)</mtable><mo>\]</mo>", r"@np.array([\1])"),
    (r"\),(?=(</mtd>|</mtr>)*</mtable>)", ")"),
    (r"\),(?!</mtd>)", ")"),
    (r"<mfrac><mn>1</mn><mn>2</mn></mfrac>", "0.5*"),
    (r"0\.5\*(<mrow>)?@", r"0.5*\1"),
    (r"(^|<math>|<mo[^>]*>\+</mo>)(<mrow>)?@", r"\1"),
    (r"<msup><mi>tanh</mi><mn>2</mn></msup>(.*?</mrow>)", r"np.tanh\1**2"),
    (r"<mi>tanh</mi>", "np.tanh"),
    (r"<mi>relu′</mi>", "(lambda z: np.heaviside(z, 0))"),
    (r"<mi>relu</mi>", "(lambda z: max(z, 0))"),
    (r"<mi>σ</mi>(.*?</mrow>)", r"1/(1+np.exp(-\1))"),
    (r"<mn>2</mn></msup>", "**2"),
    ("·", "*"),
    ("−", "-"),
    ("<mo[^>]*>=</mo>", "=="),
)


@each_cell
def test_every_line_has_symbols_code_and_a_place_in_the_diagram(name):
    illustration = ILLUSTRATIONS[name]
    listing = listing_of(CELLS[name].rule)
    parts = (*illustration.diagram.wires, *illustration.diagram.nodes)
    forward = {n for part in parts for n in part.forward.split()}
    backward = {n for part in parts for n in part.backward.split()}
    assert forward == {line.name for line in illustration.forward}
    assert backward == {line.name for line in illustration.backward}
    carried = {wire.carries for wire in illustration.diagram.wires}
    for phase in ("forward", "backward", "sums"):
        for line in getattr(illustration, phase):
            known = {line.name, *names_in(line.equation.value)}
            assert known <= set(illustration.symbols)
            assert bool(lines_of(listing, line, phase != "forward")) == bool(line.code), line
    gates = {n for line in illustration.backward for n in names_in(line.equation.value)}
    shown = {n for n in gates if n in forward and n not in ("e_t", "y_t")}
    assert shown <= carried  # a forward value that is read lights up where it is


def test_a_line_that_does_not_follow_the_rule_is_refused(eager):
    lstm, problem = ILLUSTRATIONS["lstm"], problem_of("lstm")

    def planted(field: str, name: str, text: str) -> Illustration:
        lines = getattr(lstm, field)
        changed = tuple(Line(text, "", "") if line.name == name else line for line in lines)
        return lstm._replace(**{field: changed})

    for field, name, text, part in (
        ("forward", "h_t", "h_t = o ⊙ c_t", "another y_t than the cell's step"),
        ("backward", "δ_f", "δ_f = df ⊙ f ⊙ (1 − g)", "another δ_t than the cell's backward"),
        ("backward", "dx_t", "dx_t = δ_i W_xiᵀ", "another dx_t than the cell's gradients"),
    ):
        wrong = planted(field, name, text)
        with pytest.raises(RuntimeError, match=part):
            verify(CELLS["lstm"], wrong, problem, compute(wrong, problem))


def test_what_has_no_illustration_is_refused():
    cell = rnnjax.lstm(3)
    changed = cell._replace(rule=cell.rule._replace(backward=lambda *a: cell.rule.backward(*a)))
    for other in (changed, rnnjax.vanilla(3, "sigmoid"), rnnjax.gru(3, reset="before")):
        with pytest.raises(ValueError, match="there is no illustration of"):
            illustrate(other)
    with pytest.raises(ValueError, match=r"xs must be \[T, D\]"):
        illustrate(cell, xs=np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="with T from 1 to 8"):
        illustrate(CELLS["lstm"], problem_of("lstm").params, np.zeros((9, D)))


def test_notation():
    equation = parse("dc_t = dc_t⁺ + dh_t ⊙ (1 − tanh²(c_t))")
    assert names_in(equation.value) == ("dc_t⁺", "dh_t", "c_t")
    values = {"dc_t⁺": np.array([[1.0]]), "dh_t": np.array([[2.0]]), "c_t": np.array([[0.5]])}
    close(evaluate(equation.value, values), 1 + 2 * (1 - np.tanh(0.5) ** 2))
    for wrong in ("c_t", "c_t = f ⊙ (g", "c_t = f g)", "c_t = f ! g"):
        with pytest.raises(ValueError, match=r"cannot read|expected an equation|not closed"):
            parse(wrong)


def test_equations_and_sentences_in_words():
    text = "dh_{t-1}⁺ = dh_t ⊙ z + δ_r W_hrᵀ"
    assert spoken(text) == (
        "gradient of h t minus 1 from the next step = "
        "gradient of h t times z + delta r W hr transposed"
    )
    text = "The difference `h_{t-1} − n`, between −1 and 1, is `∂C/∂z`."
    assert spoken_prose(text) == (
        "The difference h t minus 1 minus n, between −1 and 1, is gradient of z."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.5, "−0.500"), (0.0123, "0.0123"), (4.2e-5, "4.2×10⁻⁵"), (12345, "1.2×10⁴")],
)
def test_numbers_are_printed_with_two_digits_at_least(value, text):
    assert printed(value) == text


def test_long_axes_show_their_ends():
    assert Axis(64, 4).indices == [0, 1, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255]
