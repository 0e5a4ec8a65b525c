"""`deer()`: the states, their certificate and their gradient, and what is said without them."""

import functools
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from op_by_op import op_by_op

import rnnjax
from rnnjax import autodiff, bptt, checkpointed, deer, sequential, truncated, unroll
from rnnjax.methods import _levenberg_marquardt as lm, _newton, solve
from rnnjax.methods._deer import _recurrence
from rnnjax.methods._newton import Newton
from rnnjax.methods._recurrence import Problem, Steps
from rnnjax.running import mask, prepare, validate

T, B, D, H = 6, 3, 2, 2
VARIANTS = {
    "newton": deer(),
    "quasi": deer(quasi=True),
    "damped": deer(damping=1e-13),  # which lasts three iterations
    "quasi_damped": deer(quasi=True, damping=1e-13),
}
FLAGS = {
    "lengths": np.array([T, 4, 0]),
    "resets": np.arange(T)[:, None] == np.array([[2, 3, 1]]),
}
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def drawn(cell, gain=1.0, steps=T):
    """Params with recurrent weights of this gain, inputs and a carry."""
    rng = np.random.default_rng(0)
    params = cell.init(jax.random.key(0), D)
    if hasattr(params, "w_h"):
        w_h = rng.standard_normal(params.w_h.shape) * gain / np.sqrt(H)
        params = params._replace(w_h=jnp.asarray(w_h))
    xs = jnp.asarray(rng.standard_normal((steps, B, D)))
    carry = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_carry(params, (B,)))
    return params, xs, carry


def assert_same(got, want, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("cell", "variant", "reverse"),
    [
        (rnnjax.lstm(H), "newton", False),
        (rnnjax.lstm(H), "quasi", True),
        (rnnjax.gru(H, reset="before"), "quasi", False),
        (rnnjax.vanilla(H), "damped", True),
        (rnnjax.indrnn(H, "tanh"), "quasi_damped", False),
        (rnnjax.lru(H), "newton", True),  # complex
    ],
)
def test_every_variant_finds_the_states(eager, cell, variant, reverse):
    params, xs, carry = drawn(cell, gain=0.8)
    options = {"carry": carry, "reverse": reverse, **FLAGS}
    found = solve(cell, params, xs, method=VARIANTS[variant], **options)
    want = unroll(cell, params, xs, method=sequential(), return_carries=True, **options)
    assert_same((found.carries, found.ys), want)
    assert np.all(found.converged)
    assert np.all(found.residual < 1e-12)
    assert found.iterations[0] == 1 if cell.structure.linear else found.iterations[0] > 1
    assert found.iterations[2] == 0  # a sequence of no steps is solved by the guess


@pytest.mark.parametrize("quasi", [False, True])
def test_after_k_iterations_the_first_k_steps_are_exact(eager, quasi):
    cell, steps = rnnjax.vanilla(H), 8
    params, xs, _ = drawn(cell, gain=6.0, steps=steps)
    want = unroll(cell, params, xs, method=sequential())[1]
    for k in (0, 2, steps - 1):
        net, problem = inner(cell, params, xs, quasi=quasi, max_iterations=k)
        s = np.asarray(_newton._iterate(net, params, problem).s)
        np.testing.assert_allclose(s[: k + 1], want[: k + 1], rtol=1e-12)  # the guess is one more
        if k == 2:
            assert np.abs(s - want).max() > 0.1  # and it is no easy problem


def test_a_state_that_blows_up_is_no_solution(eager):
    s, to = (jnp.array([[[1e9]], [[x]]]) for x in (1.0, 1.5))
    found = _newton._measured(Steps(to, None, None, jnp.array([True])), s)
    assert found.residual.tolist() == found.error.tolist() == [0.5]  # not beside 1e9
    rounded = _newton._measured(
        Steps(to.at[1].set(1).at[0].add(1), None, None, jnp.ones(1, bool)), s
    )
    assert rounded.error.tolist() == [1e-9]  # 1 beside 1e9


def inner(cell, params, xs, quasi=False, max_iterations=1, **options):
    """What `_newton` works on."""
    sequence = validate(cell, params, xs, **options)
    ready, start, inputs = prepare(cell, params, sequence)
    problem = Problem(start, inputs, mask(params, sequence, False).begins)
    recurrence = _recurrence(cell, ready, False, sequence.carry, 1)
    return Newton(recurrence, quasi, 0.0, None, max_iterations, "tell", "scan"), problem


@pytest.mark.parametrize("cell", [rnnjax.lstm(H), rnnjax.gru(H, reset="before"), rnnjax.indrnn(H)])
def test_blocks_are_those_of_the_whole_jacobian(eager, cell):
    params, xs, _ = drawn(cell)
    net, problem = inner(cell, params, xs, resets=FLAGS["resets"])
    recurrence = net.recurrence
    first = recurrence.first(problem)
    s = jnp.asarray(np.random.default_rng(1).standard_normal((T, *first.shape)))
    dense = recurrence.jacobian("dense", params, problem, s)[:, :, 0]
    blocks = recurrence.quasi_blocks()
    got = recurrence.jacobian(blocks, params, problem, s)
    order = np.asarray(recurrence.in_blocks(blocks, jnp.arange(dense.shape[-1])))  # [M, K]
    for m, entries in enumerate(order):
        np.testing.assert_allclose(got[:, :, m], dense[:, :, entries][..., entries], atol=1e-14)
    kept = {"lstm": 8, "gru": 2, "indrnn": 2}[str(cell).partition("(")[0]]
    assert got[0, 0].size == kept
    if cell.structure.mixing == ():  # and nothing else is not zero
        assert recurrence.exact_blocks() == "units"
        assert np.abs(dense).sum() == pytest.approx(np.abs(got).sum(), rel=1e-12)


@pytest.mark.parametrize(("reverse", "by"), [(False, "cpu"), (True, "cpu"), (True, "gpu")])
def test_a_damped_step_solves_the_least_squares_problem(monkeypatch, eager, reverse, by):
    rng, K = np.random.default_rng(0), 2
    J = rng.standard_normal((4, 1, 2, K, K))
    r = rng.standard_normal((4, 1, 2, K))
    begins = np.array([[False], [False], [True], [False]])
    damping = 0.7
    monkeypatch.setattr(lm, "jax", SimpleNamespace(default_backend=lambda: by, lax=jax.lax))
    got = lm.damped(*map(jnp.asarray, (J, r, damping, begins)), reverse)
    order = [3, 2, 1, 0] if reverse else [0, 1, 2, 3]
    for m in range(2):
        rows = np.eye(4 * K)  # δ_t - J_t δ_{t-1}, in the order of the loop
        for place in range(1, 4):
            t = order[place]
            if not begins[t, 0]:
                here = slice(place * K, place * K + K)
                rows[here, place * K - K : place * K] = -J[t, 0, m]
        want = np.linalg.solve(
            rows.T @ rows + damping * np.eye(4 * K), rows.T @ r[order, 0, m].reshape(-1)
        )
        np.testing.assert_allclose(got[order, 0, m].reshape(-1), want, rtol=1e-10)


@pytest.mark.parametrize("variant", ["newton", "quasi"])
@pytest.mark.parametrize("cell", [rnnjax.lstm(H), rnnjax.indrnn(H, "tanh")])
def test_the_gradient_is_exact(eager, cell, variant):
    params, xs, carry = drawn(cell, gain=1.5)

    def cost(params, xs, carry, **options):
        last, ys = unroll(cell, params, xs, carry=carry, **FLAGS, **options)
        return jnp.sum(ys**3) + sum(jnp.sum(jnp.sin(leaf)) for leaf in last)

    found, want = (
        jax.value_and_grad(functools.partial(cost, **options), (0, 1, 2))(params, xs, carry)
        for options in (
            {"method": VARIANTS[variant]},
            {"method": sequential(), "gradient": bptt()},
        )
    )
    assert_same(found, want, 1e-10)


def test_forward_mode_and_second_derivatives(eager):
    cell = rnnjax.vanilla(H)
    params, xs, carry = drawn(cell)

    def twice(method, gradient):
        def cost(xs):
            ys = unroll(cell, params, xs, carry=carry, method=method, gradient=gradient)[1]
            return jnp.sum(ys**3)

        return jax.jvp(jax.grad(cost), (xs,), (jnp.cos(xs),))

    want = twice(sequential(), autodiff())
    assert_same(twice(deer(), None), want, 1e-10)
    assert_same(twice(deer(quasi=True), None), want, 1e-10)


@pytest.mark.parametrize("method", [deer(), deer(quasi=True)], ids=str)
def test_whole_jacobians_and_hessians(eager, method):
    """Of params alone: the primals are not mapped, and JAX asks for their batches all the same."""
    cell = rnnjax.vanilla(H)
    params, xs, carry = drawn(cell)

    def cost(b, method):
        ys = unroll(cell, params._replace(b=b), xs, carry=carry, method=method)[1]
        return jnp.sum(ys**3)

    for derivative in (jax.jacfwd, lambda f: jax.jacfwd(jax.jacrev(f))):
        found, want = (
            derivative(functools.partial(cost, method=each))(params.b)
            for each in (method, sequential())
        )
        assert_same(found, want, 1e-10)


@pytest.mark.parametrize("gradient", [checkpointed(2), truncated(4)], ids=str)
def test_second_derivatives_through_a_loop_over_segments(gradient):
    """JAX evaluates a scan in parts there, and forgets the rule of a custom_jvp within."""
    cell = rnnjax.vanilla(H)
    params, xs, carry = drawn(cell)

    def slope(method):
        def cost(params):
            ys = unroll(cell, params, xs, carry=carry, method=method, gradient=gradient)[1]
            return jnp.sum(ys**3)

        slope = jax.grad(lambda params: sum(map(jnp.sum, jax.grad(cost)(params))))
        return quick_jit(slope)(params)

    assert_same(slope(deer()), slope(sequential()), 1e-10)


def test_a_cell_may_read_the_program_around_it_but_not_be_differentiated_in_it(eager):
    params, xs, _ = drawn(rnnjax.vanilla(H))

    def run(method, gain):
        def step(params, carry, x_t):
            carry, y_t = rnnjax.vanilla(H).step(params, carry, gain * x_t)
            return carry, y_t

        cell = rnnjax.Cell(*rnnjax.vanilla(H)[:2], step)
        return jnp.sum(unroll(cell, params, xs, method=method)[1])

    found, want = (jax.jit(functools.partial(run, m))(2.0) for m in (deer(), sequential()))
    np.testing.assert_allclose(found, want, rtol=1e-12)
    batch = jax.vmap(functools.partial(run, deer()))(jnp.array([2.0, 2.0]))
    np.testing.assert_allclose(batch, [want, want], rtol=1e-12)
    with pytest.raises(ValueError, match="an array that is differentiated: pass it as part of par"):
        jax.grad(functools.partial(run, deer()))(2.0)


class TestWithoutConvergence:
    cell = rnnjax.vanilla(H)
    lines = r"has not converged in 1 iterations: the largest residual .* is \d"

    def run(self, method, xs=None, **options):
        params, drawn_xs, _ = drawn(self.cell, gain=6.0)
        return unroll(self.cell, params, drawn_xs if xs is None else xs, method=method, **options)

    def test_it_raises(self, eager):
        with pytest.raises(RuntimeError, match=self.lines + ".*otherwise='sequential'"):
            self.run(deer(max_iterations=1))

    def test_it_raises_in_compiled_code_and_in_a_gradient(self):
        params, xs, _ = drawn(self.cell, gain=6.0)

        @quick_jit
        def gradient(xs):
            method = deer(max_iterations=1)
            return jax.vmap(
                jax.grad(lambda x: unroll(self.cell, params, x, method=method)[1].sum())
            )(xs.swapaxes(0, 1))

        warnings.simplefilter("ignore")  # in the scope of the test: it is no warning
        with pytest.raises(RuntimeError, match=self.lines):
            jax.block_until_ready(gradient(xs))

    def test_it_runs_step_by_step(self, eager):
        with pytest.warns(RuntimeWarning, match=self.lines + ".*it runs step by step instead"):
            got = self.run(deer(max_iterations=1, otherwise="sequential"), reverse=True)
        assert_same(got, self.run(sequential(), reverse=True))

    def test_it_takes_the_nearest_iterate(self, eager):
        method = deer(max_iterations=1, otherwise="best")
        with pytest.warns(RuntimeWarning, match=self.lines + ".*the nearest iterate"):
            _, ys = self.run(method)
        params, xs, _ = drawn(self.cell, gain=6.0)
        found = solve(self.cell, params, xs, method=method)
        assert_same(ys, found.ys)
        assert not found.converged.any()
        before = np.concatenate([np.zeros((1, B, H)), found.carries.h[:-1]])
        assert np.abs(ys - before).max() > 0.1
        assert np.all(found.residual > 0.01)

    def test_nan_is_not_hidden(self, eager):
        params, xs, _ = drawn(self.cell, gain=0.5)
        xs = xs.at[3, 1].set(jnp.nan)
        found = solve(self.cell, params, xs)
        assert found.converged.tolist() == [True, False, True]
        assert found.iterations[1] < 20  # nothing moves any more
        assert np.isnan(found.residual[1])
        with pytest.raises(RuntimeError, match=r"residual .* is nan"):
            unroll(self.cell, params, xs, method=deer())
        with pytest.warns(RuntimeWarning, match="is nan"):
            got = unroll(self.cell, params, xs, method=deer(otherwise="sequential"))[1]
        assert_same(got, unroll(self.cell, params, xs, method=sequential())[1])
        assert np.isnan(got[3:, 1]).all()


def test_the_certificate_is_that_of_the_states(eager):
    cell = rnnjax.gru(H)
    params, xs, carry = drawn(cell)
    found = solve(cell, params, xs, method=deer(tolerance=0.02), carry=carry)
    before = jnp.concatenate([carry.h[None], found.carries.h[:-1]])
    again = np.asarray(cell.step(params, rnnjax.cells.GRUCarry(before), xs)[1])
    # The carries are f of the states: where these were wrong by r, f of the carries differs by J r.
    moved = np.linalg.norm(again - found.carries.h, axis=-1).max(0)
    assert np.all(found.residual <= 0.02 * np.sqrt(H))
    assert np.all(found.residual > 1e-9)
    assert np.all(moved <= found.residual)
    assert np.all(moved > 1e-12)


@pytest.mark.parametrize("scale", [1e-2, 1e-12])
def test_small_states_are_solved_to_as_many_digits(eager, scale):
    cell = rnnjax.gru(H)
    params, xs, _ = drawn(cell)
    want = unroll(cell, params, scale * xs, method=sequential())[1]
    got = solve(cell, params, scale * xs, method=deer(quasi=True))
    assert np.all(got.converged)
    np.testing.assert_allclose(got.ys, want, rtol=0, atol=1e-11 * np.max(np.abs(want)))
    nothing = solve(cell, params, 0 * xs, method=deer(quasi=True))
    assert np.all(nothing.converged)
    assert not np.any(nothing.ys)


def test_each_sequence_stops_when_it_is_solved(eager):
    cell = rnnjax.gru(H)
    params, xs, _ = drawn(cell)
    xs = xs.at[:, 1].multiply(0.05)
    together, alone = (solve(cell, params, x, method=deer(tolerance=1e-3)) for x in (xs, xs[:, 1]))
    assert together.iterations[1] == alone.iterations
    assert together.iterations[1] < together.iterations.max()
    assert_same(together.ys[:, 1], alone.ys, 1e-15)


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        (rnnjax.recurrent_dropout(rnnjax.vanilla(H), 0.4), True),
        (rnnjax.stack(rnnjax.lru(H), rnnjax.gru(H)), False),
    ],
)
def test_random_cells_and_stacks(eager, cell, key):
    params, xs, _ = drawn(cell)
    options = {"key": jax.random.key(1)} if key else {"return_carries": True}
    got, want = (unroll(cell, params, xs, method=m, **options) for m in (deer(), sequential()))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = map(jax.random.key_data, (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_one_step_and_none():
    cell = rnnjax.lstm(H)
    with op_by_op():
        params, xs, carry = drawn(cell, steps=1)
        runs = (unroll(cell, params, xs, carry=carry, method=m) for m in (deer(), sequential()))
        assert_same(*runs)
    assert_same(unroll(cell, params, xs[:0], carry=carry, method=deer()), (carry, xs[:0]))


def test_low_precision_is_computed_in_float32(eager):
    cell = rnnjax.vanilla(H, dtype=jnp.bfloat16)
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), drawn(rnnjax.vanilla(H))[0])
    wide = jax.tree.map(lambda w: w.astype(jnp.float32), params)
    xs = np.ones((4, D), np.float32)
    got = unroll(cell, params, xs, method=deer())[1]
    want = unroll(rnnjax.vanilla(H), wide, xs, method=sequential())[1]
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, want.astype(jnp.bfloat16))


def with_another_rule(cell):
    return cell._replace(rule=cell.rule._replace(backward=lambda *_: None))


@pytest.mark.parametrize(
    ("cell", "gradient", "message"),
    [
        (rnnjax.gru(2), bptt(rnnjax.gradients.clip_by_value(1.0)), "no loop in which δ_t could be"),
        (with_another_rule(rnnjax.gru(2)), None, "the rule of this cell was replaced"),
        (rnnjax.gru(2), rnnjax.online.rtrl(), "cannot be differentiated by gradient=rtrl"),
    ],
)
def test_what_it_cannot_run(cell, gradient, message):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 1))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), params)
    with pytest.raises(ValueError, match=message):
        unroll(cell, params, np.ones((3, 1)), gradient=gradient, method=deer())


def test_options_that_are_none():
    with pytest.raises(ValueError, match="tolerance must be positive, got -1"):
        deer(tolerance=-1)
    with pytest.raises(ValueError, match="damping must be a finite number of at least 0, got -1"):
        deer(damping=-1)
    with pytest.raises(TypeError, match=r"method must be rnnjax.deer\(...\), got sequential"):
        solve(rnnjax.gru(2), None, np.ones((3, 1)), method=sequential())
    assert str(deer(quasi=True, damping=2)) == "deer(quasi=True, damping=2.0)"


@pytest.mark.parametrize("options", [{}, {"quasi": True}, {"damping": 1.0}], ids=str)
def test_no_product_is_rounded_to_tf32(options):
    """In TF32, a GPU's default, no residual would fall below 1e-4."""
    cell = rnnjax.gru(2)
    params, xs = cell.init(jax.random.key(0), 1), jnp.ones((3, 1))

    def cost(params):
        return rnnjax.unroll(cell, params, xs, method=rnnjax.deer(**options))[1].sum()

    text = str(jax.make_jaxpr(jax.grad(cost))(params))
    assert text.count("dot_general[") == text.count("precision=(Precision.HIGHEST") > 0


def test_quasi_takes_params_and_carries_in_dicts():
    inner = rnnjax.vanilla(H)
    params, xs, carry = drawn(inner, gain=0.8)

    def as_params(fields):
        return type(params)(**fields)

    def as_carry(fields):
        return type(carry)(**fields)

    def init(key, inputs):
        return inner.init(key, inputs)._asdict()

    def initial_carry(weights, batch_shape, key=None):
        return inner.initial_carry(as_params(weights), batch_shape, key)._asdict()

    def step(weights, carry, x_t):
        new, y_t = inner.step(as_params(weights), as_carry(carry), x_t)
        return new._asdict(), y_t

    def forward(weights, carry, z_t):
        (new, y_t), tape = inner.rule.forward(as_params(weights), as_carry(carry), z_t)
        return (new._asdict(), y_t), tape

    def backward(weights, tape, carry_ct, y_ct, clip):
        ct, delta = inner.rule.backward(as_params(weights), tape, as_carry(carry_ct), y_ct, clip)
        return ct._asdict(), delta

    def gradients(weights, xs, tapes, deltas):
        params_ct, xs_ct = inner.rule.gradients(as_params(weights), xs, tapes, deltas)
        return params_ct._asdict(), xs_ct

    rule = rnnjax.Rule(
        lambda weights, xs: inner.rule.project(as_params(weights), xs), forward, backward, gradients
    )
    cell = rnnjax.Cell(init, initial_carry, step, rule, rnnjax.Structure(mixing=("w_h",)))
    found = solve(cell, params._asdict(), xs, method=deer(quasi=True), carry=carry._asdict())
    want = solve(inner, params, xs, method=deer(quasi=True), carry=carry)
    assert_same((found.carries["h"], found.ys), (want.carries.h, want.ys))
    assert found.iterations.tolist() == want.iterations.tolist()
