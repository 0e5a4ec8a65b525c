"""`gradients.check` passes right rules and catches planted errors."""

import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax.gradients import check

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
    assert len(lines) == 7
    assert all(line.endswith("ok") for line in lines[1:])


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
