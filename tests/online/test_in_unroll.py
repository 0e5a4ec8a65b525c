"""Online algorithms as gradients of `unroll`: its options, transformations and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import online

T, B, D, H = 3, 2, 2, 3
LSTM, VANILLA = rnnjax.lstm(H), rnnjax.vanilla(H)
RNG = np.random.default_rng(0)
XS = RNG.normal(size=(T, B, D))
FLAGS = {"lengths": jnp.array([3, 2]), "resets": jnp.array([[0, 0], [0, 1], [1, 0]], bool)}
KEY = jax.random.key(1)


def params_of(cell, features=D):
    drawn = cell.init(jax.random.key(0), features)
    return jax.tree.map(lambda leaf: np.asarray(leaf) + 0.3 * RNG.normal(size=leaf.shape), drawn)


PARAMS = params_of(LSTM)
CARRY = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape), LSTM.initial_carry(PARAMS, (B,)))


def cost(carry, ys):
    leaves = jax.tree.leaves((carry, ys))
    return sum(jnp.sum(jnp.sin(leaf + k + 1)) for k, leaf in enumerate(leaves))


def grad(gradient, cell=LSTM, params=PARAMS, **options):
    def value(params, carry):
        run = rnnjax.unroll(cell, params, XS, carry=carry, gradient=gradient, **options)
        return cost(*(run if isinstance(run, tuple) and len(run) == 2 else (run, ())))

    return jax.grad(value, (0, 1))(params, CARRY)


def close(got, want, tolerance=1e-11):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "options",
    [
        {"lengths": FLAGS["lengths"], "return_carries": True},
        {"reverse": True, "method": rnnjax.sequential(unroll=2)},
    ],
    ids=["carries", "unrolled"],
)
def test_rtrl_under_options(options):
    close(grad(online.rtrl(), **options), grad(rnnjax.autodiff(), **options))


@pytest.mark.usefixtures("eager")
def test_rtrl_is_checkpointed_as_other_exact_gradients_are():
    close(grad(rnnjax.checkpointed(2, online.rtrl())), grad(rnnjax.bptt()))


@pytest.mark.usefixtures("eager")
def test_local_gradients_take_a_learned_carry_that_is_not_differentiated():
    cell = rnnjax.learned_carry(VANILLA)
    params = params_of(cell)
    first = cell.initial_carry(params, (B,))

    def value(params, gradient, stop, **options):
        params = params._replace(carry=jax.lax.stop_gradient(params.carry)) if stop else params
        return cost(*rnnjax.unroll(cell, params, XS, gradient=gradient, **options))

    inner = jax.grad(
        lambda p: cost(*rnnjax.unroll(VANILLA, p, XS, carry=first, gradient=online.snap(1)))
    )(params.cell)
    for options in ({"stop": False, "carry": first}, {"stop": True}):
        found = jax.grad(value)(params, online.snap(1), **options)
        close(found.cell, inner)
        assert np.all(found.carry.h == 0)
    resets = FLAGS["resets"]
    jax.grad(value)(params, online.snap(1), True, resets=resets)
    for options in ({}, {"carry": first, "resets": resets}):
        with pytest.raises(ValueError, match=r"params\._replace\(carry=jax\.lax\.stop_gradient"):
            jax.grad(value)(params, online.snap(1), False, **options)


@pytest.mark.usefixtures("eager")
def test_a_stack_is_seen_whole():
    cell = rnnjax.stack(rnnjax.vanilla(2), rnnjax.gru(2))
    params = params_of(cell)

    def of(gradient):
        return jax.grad(lambda p: cost(*rnnjax.unroll(cell, p, XS, gradient=gradient)))(params)

    close(of(online.rtrl()), of(rnnjax.bptt()))


@pytest.mark.parametrize("steps", [0, 1])  # compiled: JAX cannot loop no times op by op
def test_short_sequences(steps):
    def of(gradient):
        def value(params):
            return cost(*rnnjax.unroll(VANILLA, params, XS[:steps], gradient=gradient))

        return jax.grad(value)(params_of(VANILLA))

    got = of(online.rtrl())
    assert all(np.isfinite(leaf).all() for leaf in got)
    assert (np.abs(got.w_x).max() > 0) == (steps > 0)


def test_transformations_when_compiled():
    def value(params, x_scale):
        xs = jax.lax.stop_gradient(x_scale) * XS
        return cost(*rnnjax.unroll(VANILLA, params, xs, gradient=online.rtrl()))

    def reference(params, x_scale):
        xs = jax.lax.stop_gradient(x_scale) * XS
        return cost(*rnnjax.unroll(VANILLA, params, xs, gradient=rnnjax.autodiff()))

    params, scales = params_of(VANILLA), jnp.array([1.0, 0.5])

    def both(value):  # vmap of grad, and a derivative of the gradient
        each = jax.vmap(jax.grad(value), (None, 0))(params, scales)
        twice = jax.jvp(jax.grad(lambda p: value(p, 1.0)), (params,), (params,))[1]
        return each, twice

    close(jax.jit(lambda: both(value))(), jax.jit(lambda: both(reference))(), 1e-10)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jax.grad(over_xs)(XS, online.rtrl()), "xs is differentiated.*stop_gradient"),
        (lambda: grad(online.snap(1)), r"snap\(\) gives the gradient of params alone.*rtrl\(\)"),
        (
            lambda: over_params(PARAMS, rnnjax.checkpointed(1, online.snap(1)), jax.grad),
            r"snap\(\) gives the gradient of params alone",  # pieces need that of their carry
        ),
        (lambda: grad(online.kf_rtrl(KEY)), r"kf_rtrl\(\) gives the gradient of params alone"),
        (lambda: grad(online.rflo()), r"units leak, ctrnn.*lstm\(3\) is none"),
        (
            lambda: online.learner(rnnjax.gru(H, reset="before"), online.eprop()),
            r"eprop\(\) needs a cell.*unit by unit",
        ),
        (lambda: online.learner(rnnjax.gru(H), online.kf_rtrl(KEY)), "one product.*uoro"),
        *(
            (
                lambda algorithm=algorithm: online.learner(rnnjax.stack(LSTM, LSTM), algorithm),
                rf"{name}\(\) is defined for one recurrent layer.*has layers.*snap\(1\)",
            )
            for name, algorithm in [
                ("eprop", online.eprop()),
                ("rflo", online.rflo()),
                ("kf_rtrl", online.kf_rtrl(KEY)),
            ]
        ),
        (
            lambda: grad(online.rtrl(), method=rnnjax.native()),
            r"native\(\) cannot run this.*rtrl\(\)",
        ),
        (lambda: jax.jvp(over_params, (PARAMS,), (PARAMS,)), r"gradient=autodiff\(\)"),
    ],
)
def test_refusals_say_why(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def over_xs(xs, gradient):
    return cost(*rnnjax.unroll(LSTM, PARAMS, xs, gradient=gradient))


def over_params(params, gradient=None, transform=lambda value: value):
    def value(params):
        return cost(*rnnjax.unroll(LSTM, params, XS, gradient=gradient or online.rtrl()))

    return transform(value)(params)


def test_a_replaced_rule_ends_what_was_known_of_the_cell():
    cell = LSTM._replace(rule=LSTM.rule._replace(backward=lambda *args: None))
    with pytest.raises(ValueError, match=r"eprop\(\) needs a cell"):
        online.learner(cell, online.eprop())


def test_arguments():
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="n must be at least 1"):
            online.snap(wrong)
    with pytest.raises(TypeError, match="n must be a positive int"):
        online.snap(1.5)
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"kappa must lie in \[0, 1\)"):
            online.eprop(kappa=wrong)
    with pytest.raises(TypeError, match="key must be a PRNG key"):
        online.uoro(3)
    with pytest.raises(TypeError, match=r"online algorithm such as rnnjax.online.rtrl\(\)"):
        online.learner(LSTM, rnnjax.bptt())
    assert repr((online.snap(2), online.eprop(kappa=0.5))) == "(snap(2), eprop(kappa=0.5))"
    structures = [jax.tree.structure(v) for v in (online.uoro(KEY), online.kf_rtrl(KEY))]
    assert structures[0] != structures[1]


@pytest.mark.parametrize(
    "gradient",
    [
        *(online.rtrl(), online.snap(1), online.snap(2), online.eprop(kappa=0.5)),
        *(online.uoro(KEY), online.kf_rtrl(KEY)),
    ],
    ids=lambda gradient: gradient.name,
)
def test_types_in_shard_map(gradient):
    def run(params, xs, lengths, resets):
        def value(params):
            options = {"lengths": lengths, "resets": resets, "gradient": gradient}
            return cost(*rnnjax.unroll(LSTM, params, xs, **options))

        return jax.grad(value)(params)

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    whole, divided = jax.P(), jax.P(None, "data")
    in_specs = (whole, divided, jax.P("data"), divided)
    mapped = jax.shard_map(run, mesh=mesh, in_specs=in_specs, out_specs=whole)
    found = jax.eval_shape(mapped, PARAMS, XS, *FLAGS.values())
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, PARAMS)
