"""What fused methods share: the same tests for all of them, against the portable loop."""

import jax
import jax.export
import jax.numpy as jnp
import pytest
from by_numpy import evaluated
from cudnn_stand_in import RAGGED, B, D, H, T, assert_close, assert_same, cost, problem

import rnnjax
from rnnjax import Cell, Structure, autodiff, bptt, cudnn, native, sequential, unroll
from rnnjax.gradients import clip_by_value
from rnnjax.methods import AVAILABILITY

CELL = rnnjax.lstm(H)


@pytest.fixture(params=["native", "cudnn"])
def method(request, stand_in):
    if request.param == "cudnn":
        return stand_in
    if AVAILABILITY["native"]() is not None:
        pytest.skip(str(AVAILABILITY["native"]()))
    return native()


@pytest.mark.parametrize(
    ("batch", "lengths"), [((), 4), ((2, 2), [[T, 0], [1, 4]]), ((0,), [])], ids=["0", "2", "empty"]
)
def test_batch_dimensions(method, batch, lengths):
    lengths = jnp.array(lengths, int)
    assert_same(method, CELL, problem(CELL, batch), reverse=True, lengths=lengths)


def test_no_steps(method):
    assert_same(method, CELL, problem(CELL, steps=0))


def test_inputs_of_another_precision(method):
    params, carry, xs = problem(CELL)
    assert_same(method, CELL, (params, carry, xs.astype(jnp.float32)), lengths=RAGGED)


def test_lengths_beyond_the_end_that_are_traced(method):
    params, carry, xs = problem(CELL)

    def last(lengths):
        options = {"carry": carry, "lengths": lengths, "reverse": True, "method": method}
        return unroll(CELL, params, xs, **options)

    assert_close(jax.jit(last)(RAGGED + jnp.array([2, 0, 0, 0])), last(RAGGED))


def test_second_derivatives(method):
    """Reverse over reverse, and forward over reverse along all arguments at once."""
    point = problem(CELL)

    def by(method):
        def f(params, carry, xs):
            return cost(*unroll(CELL, params, xs, carry=carry, lengths=RAGGED, method=method))

        def squares(*point):
            return sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(f, (0, 1, 2))(*point)))

        def both(*point):
            along = jax.jvp(jax.grad(f, (0, 1, 2)), point, point)[1]
            return jax.grad(squares, (0, 1, 2))(*point), along

        return evaluated(both)(*point)

    assert_close(by(method), by(sequential()))


@pytest.mark.parametrize("steps", [0, T], ids=["no steps", "steps"])
def test_forward_mode(method, steps):
    point = problem(CELL, steps=steps)

    def slopes(method):
        def f(params, carry, xs):
            return cost(*unroll(CELL, params, xs, carry=carry, lengths=lengths, method=method))

        return evaluated(lambda *point: jax.jvp(f, point, point))(*point)

    lengths = jnp.minimum(RAGGED, steps)
    assert_close(slopes(method), slopes(sequential()))


def test_exported_code_is_portable(method):
    """It is the loop of `lax.scan`, for this platform and others, value and gradients."""
    params, carry, xs = problem(CELL)

    def f(params, carry, xs):
        return cost(*unroll(CELL, params, xs, carry=carry, lengths=RAGGED, method=method))

    run = jax.jit(jax.value_and_grad(f, (0, 1, 2)))
    exported = jax.export.export(run, platforms=("cpu", "tpu"))(params, carry, xs)
    assert "while" in exported.mlir_module()
    assert_close(exported.call(params, carry, xs), run(params, carry, xs))


def test_vmap_over_data_is_a_batch_axis(method):
    params, _, xs = problem(CELL, (3, B))
    want = unroll(CELL, params, xs, lengths=jnp.stack([RAGGED] * 3), method=method)
    run = jax.vmap(lambda x: unroll(CELL, params, x, lengths=RAGGED, method=method), 1, (0, 1))
    assert_close(run(xs), want)


@pytest.mark.parametrize(
    ("xs", "error", "message"),
    [
        (jnp.ones((T, B, D - 1)), ValueError, "3 features last"),
        (jnp.ones((T, B, D), int), TypeError, "floating-point features"),
        ({"x": jnp.ones((T, B, D))}, TypeError, "one array a step"),
    ],
    ids=["features", "integers", "pytree"],
)
def test_inputs_that_the_cell_cannot_read(method, xs, error, message):
    params = problem(CELL)[0]
    with pytest.raises(error, match=message):
        unroll(CELL, params, xs, method=method)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"w_h": jnp.ones((H, 3 * H))}, r"params\.w_h has shape \(5, 15\), expected \(5, 20\)"),
        ({"w_x": jnp.ones((D, 3 * H))}, r"params\.w_x has shape \(3, 15\), expected \(3, 20\)"),
        ({"b": jnp.ones(())}, r"params\.b has shape \(\), expected \(20,\).*cell\.init"),
        ({"b": jnp.ones((2, 4 * H))}, r"params\.b has shape \(2, 20\).*jax\.vmap"),
        ({"b": None}, "params has 2 arrays, expected 3"),
    ],
)
def test_params_of_other_shapes(method, wrong, message):
    params, _, xs = problem(CELL)
    plain = (CELL.initial_carry.__wrapped__, CELL.step.__wrapped__)  # without a look at params
    own = Cell(CELL.init, *plain, CELL.rule._replace(step=None), Structure(form="lstm"))
    with pytest.raises(ValueError, match=message):
        unroll(own, params._replace(**wrong), xs, method=method)


@pytest.mark.parametrize("method", [native(), cudnn()], ids=str)
@pytest.mark.parametrize(
    ("gradient", "reason"),
    [
        (
            autodiff(),
            "it cannot be differentiated by gradient=autodiff(): its backward pass is the "
            "hand-derived rule, as that of bptt()",
        ),
        (
            bptt(clip_by_value(1.0)),
            "its backward pass cannot clip δ_t inside the loop, as "
            "gradient=bptt(clip=clip_by_value(1.0)) asks",
        ),
    ],
    ids=str,
)
def test_other_gradients_are_refused_in_the_same_words(method, gradient, reason):
    params, _, xs = problem(CELL, dtype=jnp.float32)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        unroll(CELL, params, xs, gradient=gradient, method=method)
    assert str(error.value).startswith(f"method={method!r} cannot run this: {reason}. Use method=")
