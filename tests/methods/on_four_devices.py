"""Run by test_devices.py in a process of its own, with four devices."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import small_programs
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

import rnnjax
from rnnjax import sequential, unroll
from rnnjax.methods import AVAILABILITY

small_programs.set_up_jax()  # at its limit single operations are small, and programs compiled
MESH = Mesh(np.array(jax.devices()), ("data",))
PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "many_devices.md"
T, B, D, H = 3, 8, 2, 3
CELL = rnnjax.peephole_lstm(H)
PARAMS = CELL.init(jax.random.key(0), D)
XS = jax.random.normal(jax.random.key(1), (T, B, D))
LENGTHS, RESETS = jnp.arange(B) % (T + 1), jnp.zeros((T, B), bool).at[1, 3:6].set(True)


def put(tree, *axes):
    return jax.device_put(tree, NamedSharding(MESH, P(*axes)))


def loss(params, xs, lengths, resets, method=None):
    carry, ys = unroll(CELL, params, xs, lengths=lengths, resets=resets, method=method)
    return jnp.sum(ys**2) + jnp.sum(carry.h) + jnp.sum(carry.c**2)


def check(gradient, *arrays, divided, reduced):
    """One program in which each device runs the kernels on its part, and nothing is gathered."""
    by_loop = gradient(lambda *args: loss(*args, method=sequential()))
    whole = jax.device_put(arrays, jax.devices()[0])
    program = jax.jit(gradient(loss)).lower(*arrays).compile()
    text = program.as_text()
    if AVAILABILITY["native"]() is None:
        assert set(re.findall(r"all-[a-z]+|collective-permute", text)) == reduced, text
        assert '"rnnjax_forward"' in text
        assert '"rnnjax_backward"' in text
    got, want = program(*arrays), jax.jit(by_loop)(*whole)
    assert_close(got, want)
    assert divided(got).addressable_shards[0].data.size == divided(got).size // 4


def test_a_divided_batch():
    check(
        lambda f: jax.value_and_grad(f, (0, 1)),
        *(put(PARAMS), put(XS, None, "data"), put(LENGTHS, "data"), put(RESETS, None, "data")),
        divided=lambda out: out[1][1],
        reduced={"all-reduce"},
    )


def test_a_divided_ensemble():
    params = jax.vmap(CELL.init, (0, None))(jax.random.split(jax.random.key(0), 4), D)
    check(
        lambda f: jax.vmap(jax.grad(f), (0, None, None, None)),
        *(put(params, "data"), put(XS), put(LENGTHS), put(RESETS)),
        divided=lambda out: out.w_x,
        reduced=set(),
    )


def test_a_batch_that_does_not_divide():
    def by(method, placed):
        def f(params, xs):
            xs = placed(xs)
            return loss(params, xs, None, None, method)

        return jax.jit(jax.value_and_grad(f, (0, 1)))(PARAMS, XS[:, :6])

    divided = NamedSharding(MESH, P(None, "data"))
    got = by(None, lambda xs: jax.lax.with_sharding_constraint(xs, divided))
    want = by(sequential(), lambda xs: xs)
    assert_close(got, want)


def test_vmap_of_vmap_is_lowered():
    each = jax.vmap(jax.vmap(jax.grad(loss), (0, None, None, None)), (None, 0, None, None))
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), PARAMS)
    jax.jit(each).lower(params, jnp.stack([XS, -XS, XS]), LENGTHS, RESETS)


def test_the_page_on_many_devices():
    page: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(block, page)
    whole = jax.device_put((page["params"], page["xs"], page["lengths"]), jax.devices()[0])
    want = page["gradient"](*whole)
    assert_close((page["value"], page["grads"]), want)
    assert_close(jax.tree.map(lambda leaf: leaf / 8, (page["summed"], page["parts"])), want)
    assert page["many"][1].w_x.addressable_shards[0].data.shape[0] == 2
    member, found = (
        jax.tree.map(lambda leaf: np.asarray(leaf)[5], page[name]) for name in ("ensemble", "many")
    )
    assert_close(found, page["gradient"](member, *whole[1:]))


def assert_close(found, want):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-11, atol=1e-13)


if __name__ == "__main__":
    test_a_divided_batch()
    test_a_divided_ensemble()
    test_a_batch_that_does_not_divide()
    test_vmap_of_vmap_is_lowered()
    test_the_page_on_many_devices()
