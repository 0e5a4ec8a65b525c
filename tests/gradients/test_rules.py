"""Rules that return something else than they should, or fail at a single example or with a clip."""

import jax
import jax.numpy as jnp
import pytest

import rnnjax
from rnnjax import bptt, unroll
from rnnjax.gradients import check

pytestmark = pytest.mark.usefixtures("eager")

VANILLA = rnnjax.vanilla(3)
PARAMS = VANILLA.init(jax.random.key(0), 2)
XS = jnp.ones((4, 2, 2))


def with_rule(**functions):
    return VANILLA._replace(rule=VANILLA.rule._replace(**functions))


def changed(name, change):
    inner = getattr(VANILLA.rule, name)
    return with_rule(**{name: lambda *arguments: change(inner(*arguments))})


@pytest.mark.parametrize(
    ("cell", "error", "message"),
    [
        (
            changed("forward", lambda out: out[0]),
            TypeError,
            r"forward must return \(\(carry, y_t\)",
        ),
        (changed("forward", lambda out: None), TypeError, "forward must return .*got None"),
        (
            changed("forward", lambda out: ((out[0][1], out[0][0]), out[1])),
            ValueError,
            "expected V",
        ),
        (changed("backward", lambda out: out[0]), TypeError, r"must return \(carry_ct, delta_t\)"),
        (changed("backward", lambda out: out[::-1]), ValueError, "carry_ct in .*expected VanillaC"),
        (changed("gradients", lambda out: out[0]), TypeError, r"must return \(params_ct, xs_ct\)"),
        (changed("gradients", lambda out: (out[0], out[1][0])), ValueError, "xs_ct in"),
        (
            changed("gradients", lambda out: (out[0]._replace(b=out[0].w_h), out[1])),
            ValueError,
            r"rule\.gradients returned .*b float64\[3, 3\].*params_ct.*expected .*b float64\[3\]",
        ),
    ],
)
def test_a_malformed_rule_is_named(cell, error, message):
    def cost(params):
        return unroll(cell, params, XS, gradient=bptt())[1].sum()

    for attempt in (lambda: jax.grad(cost)(PARAMS), lambda: check(cell)):
        with pytest.raises(error, match=message):
            attempt()


def test_check_finds_a_rule_that_ignores_its_clip():
    def backward(params, tape, carry_ct, y_ct, clip):
        return VANILLA.rule.backward(params, tape, carry_ct, y_ct, lambda delta: delta)

    report = check(with_rule(backward=backward))
    assert not report.passed
    assert all(row.passed for row in (*report.rows, *report.values))
    assert report.problems == (
        "rule.backward ignores clip: apply it to δ_t before the recurrent product",
    )
    assert str(report).endswith("recurrent product  WRONG")
    assert check(VANILLA).problems == ()


def test_check_finds_a_rule_that_needs_a_batch_axis():
    def fails(params, xs, tapes, deltas):
        out = VANILLA.rule.gradients(params, xs, tapes, deltas)
        return out[0]._replace(b=jnp.sum(deltas, axis=(0, 1)).reshape(3)), out[1]

    (problem,) = check(with_rule(gradients=fails)).problems
    assert problem.startswith("without a batch axis the rule fails: ")

    def wrong(params, tape, carry_ct, y_ct, clip):
        carry_ct, delta = VANILLA.rule.backward(params, tape, carry_ct, y_ct, clip)
        return carry_ct, delta if delta.ndim > 1 else 2 * delta

    report = check(with_rule(backward=wrong))
    assert not report.passed
    problem = "without a batch axis the gradient of x_t by the rule is"
    assert any(found.startswith(problem) for found in report.problems)


def test_a_tolerance_that_is_no_number_passes_nothing():
    for wrong in (float("nan"), "1e-9", -1.0):
        with pytest.raises((TypeError, ValueError), match="tolerance must be"):
            check(VANILLA, tolerance=wrong)


def test_clips():
    for wrong in (1.0, "norm", rnnjax.gradients.clip_by_value(1.0).limit):
        with pytest.raises(TypeError, match="clip must be a function"):
            bptt(clip=wrong)
    clipped = bptt(clip=lambda delta: delta.sum())
    with pytest.raises(ValueError, match="a clip returns an array of the shape"):
        jax.grad(lambda p: unroll(VANILLA, p, XS, gradient=clipped)[1].sum())(PARAMS)


def test_bases_are_gradients():
    for make in (rnnjax.truncated, rnnjax.checkpointed):
        for wrong in ("bptt", bptt, rnnjax.sequential()):
            with pytest.raises(TypeError, match="base must be a gradient such as"):
                make(2, wrong)
