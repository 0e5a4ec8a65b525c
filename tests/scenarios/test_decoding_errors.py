"""What decoding and losses refuse, and that the message says what to do."""

from functools import partial

import jax.numpy as jnp
import pytest
from scenario_nets import T, V
from wrong_inputs import COUNTS, FIRST, KEY, LABELS, LOGITS, step

from rnnjax import scenarios


def wide(state, token, size=257):
    return state, jnp.zeros((len(token), size)).at[:, -1].set(1)


BYTES = jnp.zeros(2, jnp.uint8)


@pytest.mark.parametrize(
    ("attempt", "error", "match"),
    [
        (lambda: scenarios.greedy(step, None, FIRST * 1.0, 3), TypeError, "integer ids"),
        (lambda: scenarios.greedy(step, None, 0, 3), ValueError, r"expected \[B\]"),
        (lambda: scenarios.greedy(step, None, FIRST, 0), ValueError, "steps must be at least 1"),
        (lambda: scenarios.greedy(step, None, FIRST, 1.5), TypeError, "steps must be a positive"),
        (
            lambda: scenarios.sample(step, None, FIRST, 3, KEY, temperature=0.0),
            ValueError,
            "temperature must be above 0 and finite, got 0.0: top_k=1 always",
        ),
        (lambda: scenarios.sample(step, None, FIRST, 3, KEY, top_k=0), ValueError, "top_k"),
        (lambda: scenarios.sample(step, None, FIRST, 3, KEY, top_p=0.0), ValueError, "top_p"),
        (lambda: scenarios.sample(step, None, FIRST, 3, KEY, top_p=1.1), ValueError, "top_p"),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=0, beams=0),
            ValueError,
            "beams must be at least 1",
        ),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=0, length_penalty=-1.0),
            ValueError,
            "length_penalty must be at least 0",
        ),
        (
            lambda: scenarios.beam_search(step, {"n": jnp.zeros(3)}, FIRST, 3, end=0),
            ValueError,
            r"state\['n'\] has shape \(3,\).*\[2, ...\], batch first",
        ),
        (
            lambda: scenarios.beam_search(step, jnp.zeros(()), FIRST, 3, end=0),
            ValueError,
            "batch first",
        ),
        (
            lambda: scenarios.greedy(step, {"n": jnp.zeros(())}, FIRST, 3, end=0),
            ValueError,
            r"state\['n'\] has shape \(\): with end= .*expected \[2, ...\], batch first",
        ),
        (
            lambda: scenarios.sample(step, (FIRST, jnp.zeros(3)), FIRST, 3, KEY, end=0),
            ValueError,
            r"state\[1\] has shape \(3,\).*expected \[2, ...\], batch first",
        ),
        (lambda: scenarios.greedy(wide, None, BYTES, 3), TypeError, "uint8, whose maximum is 255"),
        (
            lambda: scenarios.sample(wide, None, BYTES, 3, KEY),
            TypeError,
            r"logits over 257 words: cast it with first.astype\(int\)",
        ),
        (
            lambda: scenarios.beam_search(wide, None, BYTES, 3, end=0),
            TypeError,
            "uint8, whose maximum is 255",
        ),
        (lambda: scenarios.greedy(step, None, FIRST, 3, end=V), ValueError, "end must be one of"),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=-1),
            ValueError,
            "end must be one of the 6 words",
        ),
        (lambda: scenarios.greedy(step, None, FIRST, 3, end="a"), TypeError, "end must be an int"),
        (lambda: scenarios.greedy(step, None, FIRST, 3, end=1.0), TypeError, "end must be an int"),
        (lambda: scenarios.beam_search(step, None, FIRST, 3, end=None), TypeError, "end"),
        (
            lambda: scenarios.sample(step, None, FIRST, 3, KEY, temperature="1"),
            TypeError,
            "temperature must be a real number, got '1'",
        ),
        (
            lambda: scenarios.beam_search(step, None, FIRST, 3, end=0, length_penalty=jnp.inf),
            ValueError,
            "length_penalty must be at least 0 and finite",
        ),
        (lambda: scenarios.greedy(None, None, FIRST, 3), TypeError, "step must be a function"),
        (
            lambda: scenarios.greedy(lambda s, t: s, FIRST, FIRST, 3),
            TypeError,
            r"step must return \(state, logits \[B, V\]\)",
        ),
        (
            lambda: scenarios.greedy(lambda s, t: (s, jnp.zeros(V)), None, FIRST, 3),
            ValueError,
            r"logits of shape \(6,\), expected \[2, V\]",
        ),
    ],
)
def test_decoding(attempt, error, match):
    with pytest.raises(error, match=match):
        attempt()


def test_what_holds_without_an_end_and_at_the_limit_of_a_dtype():
    count = scenarios.greedy(lambda n, token: (n + 1, step(n, token)[1]), 0, FIRST, 3)
    assert int(count.state) == 3  # a scalar, which no sequence has to keep
    written = scenarios.greedy(partial(wide, size=256), None, BYTES, 2)
    assert written.tokens.tolist() == [[255, 255]] * 2


def test_closed_loop_needs_outputs_like_inputs():
    with pytest.raises(ValueError, match=r"\(3, 2\) and the outputs \(3, 1\)"):
        scenarios.closed_loop(lambda c, x: (c, x[:, :1]), None, jnp.zeros((3, 2)), 3)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        scenarios.closed_loop(lambda c, x: (c, x), None, jnp.zeros((3, 2)), 0)
    with pytest.raises(
        TypeError, match=r"step must return \(state, output \[B, D\]\), got \(3, 2\)"
    ):
        scenarios.closed_loop(lambda c, x: x, None, jnp.zeros((3, 2)), 3)


@pytest.mark.parametrize(
    ("attempt", "error", "match"),
    [
        (lambda: scenarios.cross_entropy(LOGITS, LABELS * 1.0), TypeError, "integer ids"),
        (lambda: scenarios.cross_entropy(LOGITS, LABELS[1:]), ValueError, r"expected \(5, 3\)"),
        (lambda: scenarios.cross_entropy(LOGITS, LABELS, LABELS), TypeError, "valid_steps"),
        (lambda: scenarios.cross_entropy(LOGITS, LABELS, LABELS[0] > 0), ValueError, "valid has"),
        (lambda: scenarios.squared_error(LOGITS, LOGITS[1:]), ValueError, "one target for each"),
        (lambda: scenarios.squared_error(LOGITS, LOGITS, LOGITS > 0), ValueError, "valid has"),
        (lambda: scenarios.ctc(LOGITS[0], COUNTS, LABELS, COUNTS), ValueError, r"\[T, B, K\]"),
        (lambda: scenarios.ctc(LOGITS, COUNTS, LABELS * 1.0, COUNTS), TypeError, "integer ids"),
        (lambda: scenarios.ctc(LOGITS, COUNTS, LABELS, COUNTS, blank=V), ValueError, "blank"),
        (lambda: scenarios.ctc(LOGITS, COUNTS + T, LABELS, COUNTS), ValueError, r"0\.\.5"),
        (lambda: scenarios.ctc(LOGITS, COUNTS, LABELS, COUNTS + T), ValueError, r"0\.\.5"),
        (lambda: scenarios.ctc(LOGITS[:0], 0 * COUNTS, LABELS, COUNTS), ValueError, "no steps"),
        (
            lambda: scenarios.ctc(LOGITS, COUNTS, LABELS, COUNTS, blank=True),
            TypeError,
            "blank must be an int, got True",
        ),
        (
            lambda: scenarios.ctc(LOGITS, COUNTS, LABELS, COUNTS, zero_infinity="no"),
            TypeError,
            "zero_infinity must be True or False, got 'no'",
        ),
        (
            lambda: scenarios.cross_entropy(LOGITS, LABELS, reduction="batch"),
            ValueError,
            "reduction must be one of 'mean', 'sum', 'none', got 'batch'",
        ),
        (
            lambda: scenarios.squared_error(LOGITS, LOGITS, reduction=None),
            ValueError,
            "reduction must be one of",
        ),
        (
            lambda: scenarios.ctc(LOGITS, COUNTS, 0 * LABELS + 1, COUNTS, reduction="batchmean"),
            ValueError,
            "reduction must be one of",
        ),
        (
            lambda: scenarios.cross_entropy(LOGITS, LABELS, label_smoothing=1.1),
            ValueError,
            r"label_smoothing is a share in \[0, 1\], got 1.1",
        ),
        (
            lambda: scenarios.cross_entropy(LOGITS, LABELS, label_smoothing=LABELS > 0),
            TypeError,
            "label_smoothing must be a real number",
        ),
        (lambda: scenarios.cross_entropy(1.0, 1), ValueError, "classes last"),
        (lambda: scenarios.cross_entropy(LOGITS[..., :0], LABELS), ValueError, "classes last"),
        (lambda: scenarios.squared_error(1.0, 1.0), ValueError, "features last"),
        (lambda: scenarios.valid_steps([1.0], 3), TypeError, "lengths has dtype float64"),
        (lambda: scenarios.valid_steps([1, 4], 3), ValueError, r"0\.\.3"),
        (lambda: scenarios.valid_steps([1], 3.0), TypeError, "steps must be an int of at least 0"),
        (lambda: scenarios.pooled("sum").apply(None, LOGITS, [9, 9, 9]), ValueError, r"0\.\.5"),
        (lambda: scenarios.pooled("sum").apply(None, LOGITS, [1, 1]), ValueError, "one length"),
    ],
)
def test_losses(attempt, error, match):
    with pytest.raises(error, match=match):
        attempt()
