"""`gradients.check` passes right rules and catches planted errors."""

import re

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax.gradients import check

pytestmark = pytest.mark.usefixtures("eager")

LSTM = rnnjax.lstm(4)
GRU = rnnjax.gru(4)


def with_backward(cell, change):
    """The cell with its rule's backward replaced by `change(rule)`."""
    return cell._replace(rule=cell.rule._replace(backward=change(cell.rule)))


def swapped_gate(rule):
    def backward(params, tape, carry_ct, y_ct, clip):
        carry_ct, delta = rule.backward(params, tape, carry_ct, y_ct, clip)
        i, f, g, o = jnp.split(delta, 4, axis=-1)
        return carry_ct, jnp.concatenate([f, i, g, o], axis=-1)

    return backward


def missing_direct_path(rule):
    """The GRU without the term dh ⊙ z of ∂C/∂h_{t-1}."""

    def backward(params, tape, carry_ct, y_ct, clip):
        new_ct, delta = rule.backward(params, tape, carry_ct, y_ct, clip)
        z = jnp.split(tape.gates, 3, axis=-1)[1]
        return new_ct._replace(h=new_ct.h - (carry_ct.h + y_ct) * z), delta

    return backward


def transposed_weights(rule):
    """W_h's square blocks used as they are where their transpose belongs."""

    def backward(params, tape, carry_ct, y_ct, clip):
        blocks = jnp.split(params.w_h, 4, axis=-1)
        wrong = params._replace(w_h=jnp.concatenate([w.T for w in blocks], axis=-1))
        return rule.backward(wrong, tape, carry_ct, y_ct, clip)

    return backward


def test_right_rules_pass_and_say_how_closely():
    report = check(LSTM)
    assert report.passed
    assert [row.leaf for row in report.rows] == [
        "params.w_x",
        "params.w_h",
        "params.b",
        "xs",
        "carry.h",
        "carry.c",
    ]
    assert max(row.rule_autodiff for row in report.rows) < 1e-13
    assert max(row.rule_differences for row in report.rows) < 1e-8
    lines = str(report).splitlines()
    assert len(lines) == 9  # the last two are of the values
    assert all(line.endswith("ok") for line in lines[1:])
    assert [(row.way, row.leaf) for row in report.values] == [
        ("rule", "carry.h"),
        ("rule", "carry.c"),
        ("rule", "ys"),
        ("output", "carry.h"),
    ]
    assert max(row.difference for row in report.values) < 1e-14


@pytest.mark.parametrize(
    ("cell", "plant", "wrong_leaf"),
    [
        (LSTM, swapped_gate, "params.w_x"),
        (GRU, missing_direct_path, "carry.h"),
        (LSTM, transposed_weights, "carry.h"),
    ],
    ids=["swapped gate", "missing term", "transposed W"],
)
def test_planted_error_in_backward_is_found(cell, plant, wrong_leaf):
    report = check(with_backward(cell, plant))
    row = {row.leaf: row for row in report.rows}[wrong_leaf]
    assert not report.passed
    assert row.rule_autodiff > 1e-3
    assert row.rule_differences > 1e-3
    assert row.autodiff_differences < 1e-8  # the step itself is right
    assert "WRONG" in str(report)


def test_planted_error_in_gradients_is_found():
    def gradients(params, xs, tapes, deltas):
        params_ct, xs_ct = LSTM.rule.gradients(params, xs, tapes, deltas)
        return params_ct._replace(b=params_ct.b * 1.001), xs_ct

    report = check(LSTM._replace(rule=LSTM.rule._replace(gradients=gradients)))
    assert [row.leaf for row in report.rows if not row.passed] == ["params.b"]


def offset_output(rule):
    """Outputs off by a constant: a cost that is linear in them has the same gradient."""

    def forward(params, carry, z_t):
        (carry, y_t), tape = rule.forward(params, carry, z_t)
        return (carry, y_t + 0.5), tape

    return rule._replace(forward=forward)


def test_a_wrong_value_is_found():
    report = check(LSTM._replace(rule=offset_output(LSTM.rule)))
    assert not report.passed
    assert all(row.passed for row in report.rows)
    assert [(row.way, row.leaf) for row in report.values if not row.passed] == [("rule", "ys")]
    (line,) = (line for line in str(report).splitlines() if "values by the rule" in line)
    assert line.endswith("WRONG")


def test_a_wrong_linear_form_and_wrong_layers_are_found():
    cell = rnnjax.min_gru(4)
    linear = cell.structure.linear

    def swapped(params, xs):
        a, b = linear.coefficients(params, xs)
        return b, a

    wrong = cell.structure._replace(linear=linear._replace(coefficients=swapped))
    report = check(cell._replace(structure=wrong))
    assert {row.way for row in report.values if not row.passed} == {"linear form"}
    deep = rnnjax.stack(rnnjax.lstm(3), rnnjax.vanilla(3))
    wrong = deep.structure._replace(layers=(rnnjax.lstm(3), rnnjax.vanilla(3, "relu")))
    report = check(deep._replace(structure=wrong))
    assert {row.way for row in report.values if not row.passed} == {"layers"}
    assert check(deep).passed


def test_a_complex_leaf_is_checked():
    cell = rnnjax.lru(3)
    report = check(cell)
    assert report.passed, str(report)
    assert "carry.h" in [row.leaf for row in report.rows]

    def conjugated(rule):
        def backward(*arguments):
            carry_ct, delta = rule.backward(*arguments)
            return jax.tree.map(jnp.conj, carry_ct), delta

        return backward

    wrong = {row.leaf: row for row in check(with_backward(cell, conjugated)).rows}
    assert not wrong["carry.h"].passed
    assert wrong["carry.h"].rule_differences > 1e-3
    assert wrong["carry.h"].autodiff_differences < 1e-8


def test_a_leaf_without_a_gradient_says_so():
    def step(params, carry, x_t):
        h = carry["h"] + params["w"] * x_t
        return {"h": h, "count": carry["count"] + 1}, h

    cell = rnnjax.Cell(
        lambda key, inputs: {"w": jnp.ones(()), "offset": jnp.zeros((), int)},
        lambda params, batch, key=None: {
            "h": jnp.zeros((*batch, 3)),
            "count": jnp.zeros(batch, int),
        },
        step,
    )
    report = check(cell)
    assert report.passed
    notes = {row.leaf: row.note for row in report.rows}
    assert notes["params['offset']"] == "not differentiable (int64)"
    assert notes["carry['count']"] == "not differentiable (int64)"
    assert notes["xs"] == ""
    assert "not differentiable (int64)" in str(report)


def test_nan_in_a_rule_is_found():
    def backward(params, tape, carry_ct, y_ct, clip):
        carry_ct, delta = LSTM.rule.backward(params, tape, carry_ct, y_ct, clip)
        return carry_ct, delta * jnp.nan

    assert not check(LSTM._replace(rule=LSTM.rule._replace(backward=backward))).passed


def test_cell_without_rule_is_held_against_differences_alone():
    report = check(rnnjax.wrap(LSTM, lambda step: step))
    assert report.passed
    assert all(row.rule_autodiff != row.rule_autodiff for row in report.rows)  # NaN
    assert max(row.autodiff_differences for row in report.rows) < 1e-8


def test_truncated_gradient_is_not_the_true_one():
    cell = rnnjax.lstm_1997(4, truncate=True)
    report = check(cell)
    assert not report.passed
    assert max(row.rule_autodiff for row in report.rows) < 1e-13
    assert check(cell, differences=False).passed


def test_lengths_and_resets_are_part_of_the_check():
    resets = jnp.zeros((6, 3), bool).at[2, 0].set(True).at[3, 1].set(True)
    assert check(GRU, lengths=jnp.array([6, 4, 0]), resets=resets).passed


def claiming(cell, mixing):
    """The same step and rule, with another `Structure.mixing`."""
    structure = cell.structure._replace(mixing=mixing, made_for=None)
    return rnnjax.Cell(*cell[:4], structure)


def normalised(params, carry, x_t):
    """Within a unit but for the mean, which joins all."""
    carry, y_t = GRU.step(params, carry, x_t)
    return carry, y_t - jnp.mean(y_t, -1, keepdims=True)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (claiming(rnnjax.vanilla(5), ()), r"depends on carry\.h of others: name the params that"),
        (
            claiming(rnnjax.gru(4, reset="before"), ("w_h",)),
            r"by \d\.\de-\d+ of its gradient the new .* of a unit depends on params\.w_x of others",
        ),
        (
            rnnjax.Cell(*GRU[:2], normalised, None, rnnjax.Structure(mixing=("w_h",))),
            r"depends on params\.b of others",
        ),
        (claiming(GRU, ("w_hh",)), r"it names 'w_hh', which is no weight matrix \[H, G\] of"),
        (claiming(rnnjax.lru(2), ()), r"last axes of its carry and output are not all of one size"),
    ],
)
def test_a_wrong_claim_of_mixing_is_found(cell, problem):
    report = check(cell, differences=False)
    assert not report.passed
    assert any(re.search(problem, text) for text in report.problems), report.problems
    assert all(row.passed for row in (*report.rows, *report.values))


def test_inputs_are_by_default_what_the_cell_reads():
    report = check(rnnjax.ctrnn(2))
    assert report.passed
    assert {row.leaf for row in report.rows} >= {"xs[0]", "xs[1]"}


def test_a_cell_of_integers_needs_inputs_of_its_own():
    def step(params, carry, x_t):
        carry = jnp.tanh(params["e"][x_t[..., 0]] + carry @ params["w"])
        return carry, carry

    def init(key, inputs):
        return {"e": jax.random.normal(key, (4, 3)), "w": jnp.full((3, 3), 0.3)}

    cell = rnnjax.Cell(init, lambda params, shape=(): jnp.zeros((*shape, 3)), step)
    with pytest.raises(TypeError, match=r"real inputs that check draws, .*float64.*pass xs="):
        check(cell)
    ids = jnp.array([[[0], [1]], [[3], [2]]])
    assert check(cell, xs=ids).passed
