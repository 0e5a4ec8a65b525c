"""Checkpointing: what is kept, what it equals to the last bit, and what it works with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import bptt, checkpointed, sequential
from rnnjax.gradients import clip_by_value

T, B, D, H = 27, 2, 3, 4
CELL = rnnjax.vanilla(H)
PARAMS = CELL.init(jax.random.key(0), D)
XS = np.random.default_rng(0).normal(size=(T, B, D))


def last_carry(gradient):
    def run(params, xs, carry):
        options = {"carry": carry, "gradient": gradient, "method": sequential()}
        return rnnjax.unroll(CELL, params, xs, **options)[0].h

    return run


def kept(gradient):
    """How many numbers the pull-back of the last carry holds beside the arguments."""
    arguments = (PARAMS, XS, CELL.initial_carry(PARAMS, (B,)))
    pull_back = jax.vjp(last_carry(gradient), *arguments)[1]
    numbers = sum(x.size for x in jax.tree.leaves(pull_back))
    return numbers - sum(np.size(x) for x in jax.tree.leaves(arguments))


@pytest.mark.parametrize(
    ("gradient", "carries"),
    [
        (checkpointed(), 5 + 1),  # ⌈27 / 5⌉, and one that `carry` and `fresh` have in common
        (checkpointed(9), 3 + 1),
        (checkpointed(levels=2), 3 + 1),  # segments of 9, whose own segments of 3 are not kept
        (checkpointed(2, levels=2), 4 + 1),  # segments of 2 · 4
    ],
)
def test_the_carries_where_segments_begin_are_all_that_is_kept(eager, gradient, carries):
    assert kept(gradient) <= (carries + 1) * B * H


@pytest.mark.parametrize("gradient", [checkpointed(4), checkpointed(2, levels=2)])
@pytest.mark.parametrize("reverse", [False, True])
def test_equal_to_its_base_to_the_last_bit(eager, gradient, reverse):
    def all_of(gradient):
        def run(params, xs, carry):
            options = {"carry": carry, "reverse": reverse, "method": sequential()}
            return rnnjax.unroll(CELL, params, xs, gradient=gradient, **options)

        out, pull_back = jax.vjp(run, PARAMS, XS[:10], CELL.initial_carry(PARAMS, (B,)))
        return out, pull_back(jax.tree.map(jnp.cos, out))

    (out, (params_ct, *rest)), (want, (want_ct, *want_rest)) = map(all_of, (gradient, bptt()))
    for a, b in zip(jax.tree.leaves((out, rest)), jax.tree.leaves((want, want_rest)), strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(params_ct, want_ct, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_each_function_of_a_rule_is_traced_once():
    traced = []

    def traces(name):
        return lambda *args: traced.append(name) or getattr(CELL.rule, name)(*args)

    names = ("project", "forward", "backward", "gradients")
    rule = CELL.rule._replace(**{name: traces(name) for name in names})
    cell = CELL._replace(rule=rule)
    options = {"gradient": checkpointed(4), "method": sequential()}

    def cost(params):
        return rnnjax.unroll(cell, params, XS[:16], **options)[0].h.sum()

    jax.make_jaxpr(jax.grad(cost))(PARAMS)
    assert sorted(traced) == sorted(names)


def test_limits_of_a_clip_may_be_traced_under_levels():
    def gradient(limit):
        clipped = checkpointed(2, bptt(clip_by_value(limit)), levels=2)
        return jax.grad(lambda xs: jnp.sum(last_carry(clipped)(PARAMS, xs, None)))(XS[:5])

    limits = jnp.array([0.1, 0.5])
    for limit, found in zip(limits, jax.jit(jax.vmap(gradient))(limits), strict=True):
        np.testing.assert_allclose(found, gradient(float(limit)), rtol=1e-12)


def test_memory_of_a_step_does_not_grow_with_the_gradient_of_inputs_nobody_asks_for():
    """Of all that is as long as the sequence, nothing is left but the inputs."""

    def cost(params, xs):
        return jnp.sum(last_carry(checkpointed())(params, xs, None))

    xs = jax.ShapeDtypeStruct((400, 1, 50), jnp.float32)
    program = jax.jit(jax.grad(cost)).lower(CELL.init(jax.random.key(0), 50), xs).compile()
    assert program.memory_analysis().temp_size_in_bytes < 400 * 50 * 4


def test_a_truncation_goes_around_it():
    for base in (rnnjax.truncated(9), rnnjax.truncated_window(3)):
        with pytest.raises(ValueError, match=r"put the truncation outside, as in truncated\(20"):
            checkpointed(4, base)


@pytest.mark.parametrize("algorithm", [rnnjax.online.uoro, rnnjax.online.kf_rtrl])
def test_what_draws_signs_is_not_cut_into_segments_that_would_share_them(algorithm):
    noisy = algorithm(jax.random.key(0))
    with pytest.raises(ValueError, match=r"same signs in every segment.*by itself"):
        checkpointed(4, noisy)
    assert rnnjax.truncated(4, noisy).base is noisy


@pytest.mark.parametrize(("levels", "error"), [(0, ValueError), (1.5, TypeError)])
def test_levels_are_a_positive_int(levels, error):
    with pytest.raises(error, match="levels"):
        checkpointed(levels=levels)
