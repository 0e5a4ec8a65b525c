"""`associative()`, and the linear scan under it, against loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from native_problems import needs_kernels
from op_by_op import op_by_op

import rnnjax
from rnnjax import associative, bptt, sequential, unroll
from rnnjax.gradients import clip_by_value
from rnnjax.methods import _linear_calls, _linear_scan
from rnnjax.methods._linear_calls import kernel_pull, kernel_scan
from rnnjax.methods._linear_scan import linear_scan

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
CELLS = {
    "diagonal": rnnjax.min_gru(3),
    "complex": rnnjax.lru(3),
    "matrix": rnnjax.delta_net(3, 2, heads=2),
}


def draw(rng, *shape, dtype=complex):
    x = rng.standard_normal(shape)
    y = 1j * rng.standard_normal(shape) if np.issubdtype(dtype, np.complexfloating) else 0
    return (x + y).astype(dtype)


def by_loop(product, reverse, begins, a, b, h):
    hs = [None] * len(b)
    for t in reversed(range(len(b))) if reverse else range(len(b)):
        flags = begins[t].reshape(begins[t].shape + (1,) * (h.ndim - 1))
        h = jnp.where(flags, 0, h)
        hs[t] = h = (a[t] * h if product == "diagonal" else a[t] @ h) + b[t]
    return jnp.stack(hs), h


@pytest.mark.parametrize(
    ("product", "by", "reverse"),
    [
        pytest.param("diagonal", "kernel", True, marks=needs_kernels),
        ("diagonal", "in_chunks", True),
        ("matrix", "tree", True),
    ],
)
def test_derivatives_of_every_order(monkeypatch, product, by, reverse):
    T, B, rng = 4, 2, np.random.default_rng(0)
    if by != "kernel":
        monkeypatch.setattr(_linear_scan, "has_kernel", lambda *_: False)
        monkeypatch.setattr(_linear_scan, "portable_scan", getattr(_linear_calls, f"_{by}"))
        monkeypatch.setattr(_linear_calls, "_CHUNK", 3)
    shapes = [(T, B, 3), (T, B, 3), (B, 3)]
    if product == "matrix":
        shapes = [(T, B, 2, 2), (T, B, 2, 3), (B, 2, 3)]
    at, along = ([draw(rng, *shape) for shape in shapes] for _ in range(2))
    begins = jnp.asarray(rng.random((T, B)) < 0.4).at[:, 0].set(False)

    def of(run):
        def cost(a, b, h):
            hs, last = run(a, b, h)
            return jnp.sum(jnp.real(jnp.exp(hs))) + jnp.sum(jnp.real(last * last * (1 - 0.7j)))

        gradient = jax.grad(cost, (0, 1, 2))

        def of_the_tangent(*at):
            return sum(jnp.sum(jnp.real(leaf**2)) for leaf in jax.jvp(run, at, tuple(along))[1])

        @quick_jit
        def all_of_them(*at):
            by_vmap = jax.vmap(gradient, (2, None, None))(jnp.stack([at[0], -at[0]], 2), *at[1:])
            of_both = jax.grad(of_the_tangent, (0, 1, 2))(*at)
            return run(*at), jax.jvp(gradient, at, tuple(along)), of_both, by_vmap

        return all_of_them(*at)

    static = {"product": product, "reverse": reverse}
    got = of(lambda a, b, h: linear_scan(a, b, h, begins, **static))
    want = of(functools.partial(by_loop, product, reverse, begins))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_the_gradient_is_one_scan_backwards():
    def cost(a, b, h):
        return linear_scan(a, b, h, None, product="diagonal", reverse=False)[0].sum()

    made = jax.make_jaxpr(jax.grad(cost, (0, 1, 2)))(*map(jnp.ones, [(9, 2, 3), (9, 2, 3), (2, 3)]))
    names = [equation.primitive.name for equation in made.eqns]
    assert [name for name in names if name.startswith("rnnjax")] == [
        *("rnnjax_linear_scan", "rnnjax_linear_pull")
    ]
    assert not {"scan", "while"} & set(names)


@needs_kernels
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_kernels_in_blocks_on_threads(dtype):
    T, B, F = 9, 10, 2401  # more than one block and one vector's rest for each thread
    rng = np.random.default_rng(1)
    a, b, g = (draw(rng, T, B, F, dtype=dtype) for _ in range(3))
    h, last = (draw(rng, B, F, dtype=dtype) for _ in range(2))
    # Four steps are taken together if none of three begins an episode: each step does in one row.
    begins = np.eye(T, B, dtype=bool)
    tolerance = 50 * float(np.finfo(dtype).eps)

    def check(got, want):
        assert np.abs(got - want).max() <= tolerance * np.abs(want).max()

    def keep(t):
        return ~begins[t, :, None]

    with op_by_op():
        hs = np.asarray(kernel_scan(*map(jnp.asarray, (a, b, h, begins)), reverse=True))
        pulled = kernel_pull(*map(jnp.asarray, (a, begins, g, last, hs, h)), reverse=True)
        b_ct, h_ct = kernel_pull(*map(jnp.asarray, (a, begins, g, last)), reverse=True)
    before = [*hs[1:], h]
    errors, error = [None] * T, last
    for t in reversed(range(T)):
        check(hs[t], a[t] * before[t] * keep(t) + b[t])
    for t in range(T):
        errors[t] = error + g[t]
        error = a[t] * errors[t] * keep(t)
        check(pulled[0][t], errors[t] * before[t] * keep(t))
        check(pulled[1][t], errors[t])
    check(pulled[2], error)
    check(h_ct, error)
    check(b_ct, np.stack(errors))


@needs_kernels
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_sequence_beyond_the_caches_equals_its_parts_bit_for_bit(dtype, reverse, restarts):
    """32 MiB: states and gradients go past the caches, which those of parts do not."""
    T, B, parts, F = 6, 2, 3, 58_304 * 16 // np.dtype(dtype).itemsize
    rng = np.random.default_rng(2)
    a, b, h = (rng.random((n, B, parts * F), "float32").astype(dtype) for n in (T, T, 1))
    begins = np.array([[0, 1], [0, 0], [1, 0], [0, 0], [1, 0], [0, 0]], bool)[: T * restarts]

    def scan(part):
        a_, b_, h_ = (jnp.asarray(x[..., part]) for x in (a, b, h[0]))
        flags = jnp.asarray(begins)
        hs = kernel_scan(a_, b_, h_, flags, reverse=reverse)
        return hs, *kernel_pull(a_, flags, b_, h_, hs, h_, reverse=reverse)

    with op_by_op():
        whole = scan(slice(None))
        assert whole[0].nbytes >= 1 << 25
        for i in range(parts):
            part = slice(i * F, (i + 1) * F)
            for found, wanted in zip(whole, scan(part), strict=True):
                np.testing.assert_array_equal(found[..., part], wanted)


@pytest.mark.parametrize("name", CELLS)
def test_one_step_and_none(name):
    cell, xs = CELLS[name], jnp.ones((1, 2, 3))
    flags = {"lengths": jnp.array([0, 1]), "resets": jnp.ones((1, 2), bool)}
    with op_by_op():
        params = cell.init(jax.random.key(0), 3)
        carry = jax.tree.map(lambda leaf: leaf + 1, cell.initial_carry(params, (2,)))
        got, want = (
            unroll(cell, params, xs, carry=carry, method=method, **flags)
            for method in (associative(), sequential())
        )
        same, ys = unroll(cell, params, xs[:0], carry=carry, method=associative())
    for a, b in zip(jax.tree.leaves((got, same)), jax.tree.leaves((want, carry)), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-13)
    assert ys.shape == (0, *want[1].shape[1:])


@pytest.mark.parametrize("by", ["kernel", "_loop", "_in_chunks"])
def test_an_episode_sees_no_infinity_of_another(monkeypatch, by):
    if by != "kernel":
        monkeypatch.setattr(_linear_scan, "has_kernel", lambda *_: False)
        monkeypatch.setattr(_linear_scan, "portable_scan", getattr(_linear_calls, by))
        monkeypatch.setattr(_linear_calls, "_CHUNK", 2)
    cell = rnnjax.identity_rnn(1)
    params = rnnjax.cells.IdentityParams(jnp.ones((1, 1)))
    xs, resets = jnp.array([[jnp.inf], [1.0], [2.0]]), jnp.array([False, True, False])
    run = quick_jit(lambda *at: unroll(cell, *at, resets=resets, method=associative())[1])
    ys = run(params, xs)
    np.testing.assert_array_equal(ys[:, 0], [jnp.inf, 1.0, 3.0])


def test_low_precision_is_summed_in_float32():
    cell = rnnjax.identity_rnn(1, dtype=jnp.bfloat16)
    params, xs = rnnjax.cells.IdentityParams(jnp.ones((1, 1), jnp.bfloat16)), jnp.ones((1000, 1))

    def last(params):
        carry, ys = unroll(cell, params, xs, method=associative())
        assert ys.dtype == carry.h.dtype == jnp.bfloat16
        return carry.h[0]

    with op_by_op():
        value, gradient = jax.value_and_grad(last)(params)
    assert value == 1000  # to 3 digits; a sum in bfloat16 ends at 256
    assert gradient.w_x[0, 0] == 1000


def test_carries_of_every_step():
    cell, xs = rnnjax.lru(2), jnp.ones((4, 3, 2))
    with op_by_op():
        params = cell.init(jax.random.key(0), 2)
        options = {"lengths": jnp.array([4, 2, 0]), "return_carries": True}
        got, want = (
            unroll(cell, params, xs, method=method, **options)
            for method in (associative(), sequential())
        )
    np.testing.assert_allclose(got[0].h, want[0].h, rtol=1e-13)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-13)


@pytest.mark.parametrize(
    ("cell", "gradient", "message"),
    [
        (rnnjax.lstm(2), None, "not known to be linear in its carry"),
        (rnnjax.min_gru(2), bptt(clip_by_value(1.0)), "no loop in which δ_t could be clipped"),
    ],
)
def test_what_it_cannot_run(cell, gradient, message):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), params)
    with pytest.raises(ValueError, match=message):
        unroll(cell, params, np.ones((3, 1)), gradient=gradient, method=associative())


def test_exported_code_has_no_kernel():
    cell = CELLS["diagonal"]
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    run = jax.jit(lambda params, xs: unroll(cell, params, xs, method=associative())[1])
    exported = jax.export.export(run)(params, jax.ShapeDtypeStruct((4, 2, 3), float))
    assert "rnnjax_linear" not in exported.mlir_module()


@pytest.mark.parametrize("sizes", ["4, b", "t, b", "t, 2"])
def test_exported_for_sequences_and_batches_of_any_size(sizes):
    cell = CELLS["diagonal"]
    with op_by_op():
        params = cell.init(jax.random.key(0), 3)
    xs = np.random.default_rng(0).normal(size=(4, 2, 3))

    def run(xs):
        return unroll(cell, params, xs, method=associative())[1]

    like = jax.ShapeDtypeStruct((*jax.export.symbolic_shape(sizes), 3), float)
    exported = jax.export.export(jax.jit(run))(like)
    np.testing.assert_allclose(exported.call(xs), run(xs), rtol=1e-12)


def of_coefficients(a, dtype=float, product="diagonal", shape=(3,)):
    """A cell h_t = h_{t-1} / 2 + x_t w that says so, or otherwise, with these coefficients."""
    linear = rnnjax.Linear(
        lambda params, xs: (a(params, xs), (xs @ params["w"]).reshape(*xs.shape[:-1], *shape)),
        lambda params, hs, xs: hs.real,
        product,
    )

    def step(params, h, x):
        h = 0.5 * h + linear.coefficients(params, x)[1]
        return h, h.real

    return rnnjax.Cell(
        lambda key, size: {"w": jnp.ones((size, np.prod(shape, dtype=int)))},
        lambda params, batch_shape: jnp.zeros((*batch_shape, *shape), dtype),
        step,
        None,
        rnnjax.Structure(linear=linear),
    )


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (
            of_coefficients(lambda params, xs: jnp.full(3, 0.5)),
            r"a of linear\.coefficients has shape \(3,\), expected \(4, 2, 3\).*broadcast_to",
        ),
        (
            of_coefficients(lambda params, xs: jnp.full((*xs.shape[:-1], 3), 0.5 + 0.5j)),
            "a of linear.coefficients is complex128, but the carry is float64.*initial_carry",
        ),
        (
            of_coefficients(lambda params, xs: jnp.eye(2), product="matrix", shape=(2, 3)),
            r"shape \(2, 2\), expected \(4, 2, 2, 2\), for a carry of shape \(2, 2, 3\)",
        ),
        (
            of_coefficients(lambda params, xs: jnp.ones((*xs.shape[:-1], 3)), product="diag"),
            "product of a Linear must be 'diagonal' or 'matrix', got 'diag'",
        ),
        (
            of_coefficients(lambda params, xs: {"h": jnp.ones((*xs.shape[:-1], 3))}),
            "a of linear.coefficients must have the structure of the carry",
        ),
    ],
)
def test_coefficients_that_are_not_of_the_carry(cell, message):
    params, xs = cell.init(jax.random.key(0), 2), jnp.ones((4, 2, 2))
    with pytest.raises(ValueError, match=message):
        unroll(cell, params, xs, method=associative())


def test_coefficients_that_are_of_the_carry():
    cell = of_coefficients(lambda params, xs: jnp.full((*xs.shape[:-1], 3), 0.5))
    params, xs = cell.init(jax.random.key(0), 2), jnp.ones((4, 2, 2))
    ys = unroll(cell, params, xs, method=associative(), lengths=[4, 2])[1]
    np.testing.assert_allclose(ys[:, 0, 0], [2, 3, 3.5, 3.75])
    np.testing.assert_allclose(ys[:, 1, 0], [2, 3, 0, 0])
