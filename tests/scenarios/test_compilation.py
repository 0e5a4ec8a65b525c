"""Loops over a model's own outputs compile once for a model and its shapes, not at every call."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from compilations import compiled
from scenario_nets import (
    CELLS,
    B,
    D,
    H,
    T,
    V,
    assert_close,
    embedding,
    head,
    noisy,
    params_of,
    words,
)

from rnnjax import scenarios

pytestmark = pytest.mark.usefixtures("by_xla")


def writer():
    model = scenarios.many_to_many(CELLS["own"], head(V), embed=embedding())
    return model, params_of(model.init, words(2, (T, B)))


def decoded(decode, **options):
    """Calls `(params, seed)` of a decoding function, with all that they pass drawn anew."""
    model, params = writer()

    def call(params, seed):
        first, carry = words(seed, B), model.initial_carry(params, (B,))
        drawn = {"key": jax.random.key(seed)} if decode is scenarios.sample else {}
        found = decode(partial(model.step, params), carry, first, 3, **drawn, **options)
        return found.tokens, found.log_probs

    return call, params


def looped():
    model = scenarios.many_to_many(CELLS["own"], head(D))
    params = params_of(model.init, noisy(1, (T, B, D)))

    def call(params, seed):
        carry = model.initial_carry(params, (B,))
        return scenarios.closed_loop(partial(model.step, params), carry, noisy(seed, (B, D)), 3)

    return call, params


def scheduled():
    model = scenarios.one_to_many(CELLS["own"], head(V), embed=embedding())
    feature, ids = noisy(1, (B, H)), words(2, (T, B))
    params = params_of(model.init, feature, ids)

    def call(params, seed):
        options = {"sampling": 0.1 * seed, "key": jax.random.key(seed)}
        return model.apply(params, feature, words(seed, (T, B)), lengths=[T, 1, 2], **options)

    return call, params


CALLS = {
    "greedy": partial(decoded, scenarios.greedy, end=0),
    "sample": partial(decoded, scenarios.sample, end=0, temperature=0.8, top_k=3, top_p=0.9),
    "beam_search": partial(decoded, scenarios.beam_search, end=0, beams=2, length_penalty=0.5),
    "closed_loop": looped,
    "sampling": scheduled,
}


@pytest.mark.parametrize("name", CALLS)
def test_the_next_call_compiles_nothing_and_reads_the_new_params(name):
    call, params = CALLS[name]()
    other = jax.tree.map(lambda leaf: 0.5 - leaf, params)
    jax.block_until_ready((call(params, 1), call(other, 2)))
    with compiled() as programs:
        found = call(params, 1), call(other, 2)
    assert programs == []
    want = [jax.jit(call, static_argnums=1)(p, seed) for p, seed in ((params, 1), (other, 2))]
    assert_close(found, tuple(want))
    assert any(bool(jnp.any(a != b)) for a, b in zip(*map(jax.tree.leaves, found), strict=True))


def test_a_function_that_closes_over_params_reads_the_new_ones():
    model, params = writer()

    def step(carry, token):
        return model.step(params, carry, token)

    first = words(1, B)
    begin = model.initial_carry(params, (B,))
    one = scenarios.greedy(step, begin, first, 3)
    params = jax.tree.map(lambda leaf: 0.5 - leaf, params)
    other = scenarios.greedy(step, begin, first, 3)
    assert_close(other, scenarios.greedy(partial(model.step, params), begin, first, 3))
    assert bool(jnp.any(one.log_probs != other.log_probs))


def test_a_step_that_reads_another_array_by_name_is_compiled_again():
    table = jnp.eye(V)

    def step(scale, state, token):
        return state, scale * jax.nn.one_hot((token + 1) % V, V) @ table

    def found():
        decoded = scenarios.greedy(partial(step, jnp.ones(())), None, jnp.array([0]), 2)
        return decoded.tokens[:, 0].tolist()

    assert found() == [1, 2]
    table = jnp.eye(V)[:, ::-1]
    assert found() == [V - 2, 0]
