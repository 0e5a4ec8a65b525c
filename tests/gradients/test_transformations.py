"""`bptt()` and the compiled kernels under every transformation of JAX."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from by_numpy import evaluated

import rnnjax
from rnnjax import bptt, checkpointed, truncated
from rnnjax.methods import AVAILABILITY

NO_KERNELS = AVAILABILITY["native"]()
T, B, D, H = 5, 2, 3, 4
CELL = rnnjax.lstm(H)
PARAMS = CELL.init(jax.random.key(0), D)
XS = np.random.default_rng(0).normal(size=(T, B, D))


def cost(params, gradient):
    _, ys = rnnjax.unroll(CELL, params, XS, gradient=gradient)
    return jnp.sum(jnp.sin(ys))


def by_bptt(params):
    return cost(params, rnnjax.bptt())


def by_autodiff(params):
    return cost(params, rnnjax.autodiff())


def twice_in_a_scan(f):
    def total(params):
        return jax.lax.scan(lambda sum_, _: (sum_ + f(params), None), 0.0, None, length=2)[0]

    return total


def over_a_batch_of_params(f):
    return lambda params: jnp.sum(
        jax.vmap(f)(jax.tree.map(lambda w: jnp.stack([w, 2 * w]), params))
    )


def under_a_condition(f):
    return lambda params: jax.lax.cond(True, f, lambda _: 0.0, params)


def squared_gradient(f):
    return lambda params: sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(f)(params)))


def hessian_vector_product(f):
    return lambda params: sum(
        jnp.sum(jnp.cos(g)) for g in jax.tree.leaves(jax.jvp(jax.grad(f), (params,), (params,))[1])
    )


@pytest.mark.parametrize(
    "transform",
    [
        jax.checkpoint,
        twice_in_a_scan,
        over_a_batch_of_params,
        under_a_condition,
        squared_gradient,
        hessian_vector_product,
    ],
)
def test_gradient_under(transform):
    found = jax.jit(jax.grad(transform(by_bptt)))(PARAMS)
    exact = jax.jit(jax.grad(transform(by_autodiff)))(PARAMS)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def along(f):
    """The derivative of f along its own argument."""
    return lambda params: jax.jvp(f, (params,), (params,))[1]


def of_bias(f):
    """f as a function of one small array, whose Jacobians and Hessians are small too."""
    return lambda b: f(PARAMS._replace(b=b))


def over_scales(derivative):
    """A derivative of f, mapped over two scales of the params."""
    return jax.vmap(lambda s: derivative(jax.tree.map(lambda w: s * w, PARAMS)))(
        jnp.array([1.0, 2])
    )


TRANSFORMS = {
    "jvp": lambda f: jax.jvp(f, (PARAMS,), (PARAMS,)),
    "jvp of jit": lambda f: jax.jvp(jax.jit(f), (PARAMS,), (PARAMS,)),
    "linearize": lambda f: jax.linearize(f, PARAMS)[1](PARAMS),
    "jacfwd": lambda f: jax.jacfwd(of_bias(f))(PARAMS.b),
    "jit of jacfwd": lambda f: jax.jit(jax.jacfwd(of_bias(f)))(PARAMS.b),
    "grad of jvp": lambda f: jax.grad(along(f))(PARAMS),
    "jvp of jvp": lambda f: jax.jvp(along(f), (PARAMS,), (PARAMS,)),
    "vjp along a tangent": lambda f: jax.vjp(lambda t: jax.jvp(f, (PARAMS,), (t,))[1], PARAMS)[1](
        1.0
    ),
    "jacrev of jacfwd": lambda f: jax.jacrev(jax.jacfwd(of_bias(f)))(PARAMS.b),
    "jacfwd of jacfwd": lambda f: jax.jacfwd(jax.jacfwd(of_bias(f)))(PARAMS.b),
    "hessian": lambda f: jax.hessian(of_bias(f))(PARAMS.b),
    "grad of grad": lambda f: jax.grad(squared_gradient(f))(PARAMS),
    "jvp of grad": lambda f: along(jax.grad(f))(PARAMS),
    "jvp of grad of checkpoint": lambda f: along(jax.grad(jax.checkpoint(f)))(PARAMS),
    "vmap of grad of jvp": lambda f: over_scales(jax.grad(along(f))),
    "vmap of jvp of grad": lambda f: over_scales(along(jax.grad(f))),
}
RUNS = {
    "bptt": {"gradient": rnnjax.bptt(), "method": rnnjax.sequential()},
    "native": {"method": rnnjax.native()},
    "checkpointed": {"gradient": rnnjax.checkpointed(2), "method": rnnjax.native()},
}
# A loop of kernels whose backward pass is differentiated once more.
IN_PIECES = ["jvp", "jvp of grad", "grad of grad"]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_transformation(transform):
    exact = jax.tree.leaves(evaluated(lambda: TRANSFORMS[transform](by_autodiff))())
    kernels = ["native", *["checkpointed"] * (transform in IN_PIECES)]
    for run in ["bptt", *([] if NO_KERNELS else kernels)]:

        def value(params, options=RUNS[run]):
            return jnp.sum(jnp.sin(rnnjax.unroll(CELL, params, XS, **options)[1]))

        found = jax.tree.leaves(evaluated(lambda: TRANSFORMS[transform](value))())
        for a, b in zip(found, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=run)


@pytest.mark.parametrize(
    "gradient",
    [bptt(), checkpointed(2), truncated(2), rnnjax.truncated_window(2), rnnjax.online.snap(1)],
    ids=str,
)
def test_no_array_of_a_trace_is_kept(gradient):
    with jax.checking_leaks():
        found = jax.jit(jax.grad(lambda params: cost(params, gradient)))(PARAMS)
    for a, b in zip(found, jax.grad(lambda params: cost(params, gradient))(PARAMS), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_clip_has_no_forward_mode():
    clipped = rnnjax.bptt(clip=rnnjax.gradients.clip_by_value(1.0))
    with pytest.raises(TypeError, match=r"no forward mode: use bptt\(\) or autodiff\(\)"):
        jax.jvp(lambda params: cost(params, clipped), (PARAMS,), (PARAMS,))


def test_other_type_errors_keep_their_message():
    with pytest.raises(TypeError, match=r"int32|int64"):
        rnnjax.unroll(CELL, PARAMS, jnp.ones((T, B, D), int))


def test_mixed_second_derivative_is_autodiffs():
    """The outer jvp moves the params, the inner grad is with respect to the inputs."""

    def mixed(gradient):
        def value(params, xs):
            return jnp.sum(jnp.sin(rnnjax.unroll(CELL, params, xs, gradient=gradient)[1]))

        def slope(params):
            return jax.grad(value, argnums=1)(params, jnp.asarray(XS))

        return jax.jvp(slope, (PARAMS,), (PARAMS,))[1]

    exact = mixed(rnnjax.autodiff())
    assert float(jnp.abs(exact).max()) > 1e-3
    np.testing.assert_allclose(mixed(rnnjax.bptt()), exact, rtol=1e-10, atol=1e-12)


def test_gradients_of_the_same_arguments_do_not_share_a_program():
    """JAX keeps a compiled program by the structure of what it was given."""
    values = [truncated(2), checkpointed(2), truncated(2, bptt()), checkpointed(2, bptt()), bptt()]
    structures = [jax.tree.structure(value) for value in values]
    assert [structures.index(each) for each in structures] == [0, 1, 2, 3, 4]
    cell = rnnjax.identity_rnn(1)
    params, xs = cell.init(jax.random.key(0), 1), jnp.ones((4, 1))

    def reach(gradient):
        def cost(xs):
            last, _ = rnnjax.unroll(cell, params, xs, gradient=gradient)
            return (last.h / params.w_x[0]).sum()

        return jax.grad(cost)(xs)[:, 0].tolist()

    assert reach(truncated(2)) == [0.0, 0.0, 1.0, 1.0]
    assert reach(checkpointed(2)) == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("run", ["bptt", "native"])
def test_a_vmap_over_examples_makes_no_weights_gradient_of_each(run):
    """What all examples share has one gradient: it is contracted over them as over a batch."""
    if run == "native" and NO_KERNELS:
        pytest.skip(NO_KERNELS)
    examples = jnp.swapaxes(jnp.asarray(XS), 0, 1)  # [B, T, D]

    def total(params, resets):
        def one(xs):
            return rnnjax.unroll(CELL, params, xs, resets=resets, **RUNS[run])[1]

        return jnp.sum(jnp.sin(jax.vmap(one)(examples)))

    def as_batch(params, resets):
        options = {"resets": jnp.stack([resets] * B, 1), "gradient": rnnjax.autodiff()}
        return jnp.sum(jnp.sin(rnnjax.unroll(CELL, params, XS, **options)[1]))

    resets = jnp.arange(T) == 2
    program = str(jax.make_jaxpr(jax.grad(total))(PARAMS, resets))
    assert f"f64[{D},{4 * H}]" in program
    assert f"f64[{B},{D},{4 * H}]" not in program
    want = jax.grad(as_batch)(PARAMS, resets)
    for a, b in zip(jax.grad(total)(PARAMS, resets), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    each = jax.vmap(jax.grad(lambda params, xs: cost_of(params, xs, RUNS[run])), (None, 0))
    assert each(PARAMS, examples).w_x.shape == (B, D, 4 * H)


def cost_of(params, xs, options):
    return jnp.sum(jnp.sin(rnnjax.unroll(CELL, params, xs, **options)[1]))


@pytest.mark.parametrize(
    "gradient",
    [
        rnnjax.truncated(3),
        rnnjax.truncated_window(3),
        rnnjax.checkpointed(),
        rnnjax.checkpointed(3),
    ],
)
def test_time_that_is_cut_has_a_known_number_of_steps(gradient):
    cell = rnnjax.vanilla(2)
    params = cell.init(jax.random.key(0), 1)

    @jax.jit
    def total(params, xs):
        return rnnjax.unroll(cell, params, xs, gradient=gradient)[1].sum()

    xs = jax.ShapeDtypeStruct(jax.export.symbolic_shape("t, b, 1"), params.b.dtype)
    with pytest.raises(ValueError, match=r"symbolic number of steps, T = t,.*by bptt\(\) or"):
        jax.export.export(total)(params, xs)
