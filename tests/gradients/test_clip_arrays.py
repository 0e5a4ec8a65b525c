"""Limits that are arrays: a new one is a new value, not a new program."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compiled

import rnnjax
from rnnjax import bptt
from rnnjax.gradients import clip_by_norm, clip_by_value

CLIPS = pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])


@CLIPS
def test_another_limit_compiles_nothing(clip, by_xla):
    cell = rnnjax.vanilla(2)
    params, xs = cell.init(jax.random.key(0), 1), jnp.ones((3, 1))

    def gradient(limit):
        def cost(params):
            return rnnjax.unroll(cell, params, xs, gradient=bptt(clip=clip(limit)))[1].sum()

        return jax.grad(cost)(params).b

    limits = [jnp.float64(limit) for limit in (0.5, 0.1)]
    got = [gradient(limits[0])]
    with compiled() as programs:
        got.append(gradient(limits[1]))
    assert programs == []
    want = [gradient(0.5), jax.jit(lambda: gradient(limits[1]))()]
    np.testing.assert_allclose(got, want, rtol=1e-12)
    assert np.any(got[0] != got[1])


@CLIPS
def test_a_limit_that_is_an_array_prints_and_compares_as_its_number(clip):
    array, number = clip(jnp.float64(0.5)), clip(0.5)
    assert repr(bptt(clip=array)) == repr(bptt(clip=number))
    assert bptt(clip=array) == bptt(clip=number) != bptt(clip=clip(jnp.float64(0.25)))
    assert hash(bptt(clip=array)) == hash(bptt(clip=number))
    assert clip(jnp.int32(2)) == clip(2)

    @partial(jax.jit, static_argnums=0)
    def clipped(gradient, delta):
        return gradient.clip(delta)

    assert clipped(bptt(clip=array), jnp.ones(1)).tolist() == [0.5]


@CLIPS
def test_a_traced_limit_says_so(clip):
    jax.jit(lambda limit: (repr(clip(limit)), limit)[1])(0.5)
    with pytest.raises(TypeError):
        jax.jit(lambda limit: (hash(clip(limit)), limit)[1])(0.5)


def test_clips_of_two_kinds_differ():
    assert clip_by_value(1.0) != clip_by_norm(1.0)
    assert clip_by_value(jnp.float64(1.0)) != clip_by_norm(jnp.float64(1.0))
