import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import B, T, batch_of, tiny_task

import rnnjax
from rnnjax import flow
from rnnjax.experiments.training import Settings, fit, flow_callback, start_training

LAGS = [0, 1, 2, 4]


def measured(task, batch, params, **options):
    state = start_training(params, optax.sgd(0.1))
    return flow_callback(1, **options)(1, state, batch, task)


@pytest.fixture(scope="module")
def case():
    task = tiny_task()
    return task, jax.tree.map(jnp.asarray, batch_of(np.arange(B))), task.init(jax.random.key(3))


def with_lengths(task, lengths):
    def recurrence(params, batch):
        net = task.recurrence(params, batch)

        def cost(carry, ys):
            return jnp.sum((carry.h @ params.out - batch.targets) ** 2)

        return net._replace(cost=cost, lengths=lengths)

    return task._replace(recurrence=recurrence)


@pytest.mark.usefixtures("eager")
def test_norms_and_exponent_equal_those_of_rnnjax_flow(case):
    task, batch, params = case
    net = task.recurrence(params, batch)
    norms = flow.gradient_norms(flow.record(net.cell, net.params, net.xs, net.cost).carry_ct)
    found = measured(task, batch, params)
    assert list(found) == [*(f"log10_gradient_norm_lag_{lag}" for lag in LAGS), "lyapunov"]
    for lag in LAGS:
        expected = np.mean(np.log10(np.asarray(norms)[T - 1 - lag]))
        np.testing.assert_allclose(found[f"log10_gradient_norm_lag_{lag}"], expected, rtol=1e-5)
    exponents = flow.lyapunov_spectrum(net.cell, net.params, net.xs, 1)
    np.testing.assert_allclose(found["lyapunov"], np.mean(exponents), rtol=1e-5)


@pytest.mark.usefixtures("eager")
def test_one_error_is_measured_where_every_step_has_a_cost(case):
    task, batch, params = case

    def read_at(steps):
        def recurrence(params, batch):
            def cost(carry, ys):
                return jnp.sum((ys[jnp.asarray(steps)] @ params.out - batch.targets[None]) ** 2)

            return task.recurrence(params, batch)._replace(cost=cost)

        return measured(task._replace(recurrence=recurrence), batch, params)

    assert read_at([0, 1, 2, 3]) == read_at([3])
    norms = [read_at([3])[f"log10_gradient_norm_lag_{lag}"] for lag in LAGS]
    assert np.isfinite(norms[:3]).all()
    assert norms[3] == -np.inf  # four steps before the fourth there is none


def test_the_exponent_is_averaged_over_the_given_number_of_examples(case):
    task, batch, params = case
    net = task.recurrence(params, batch)
    exponents = flow.lyapunov_spectrum(net.cell, net.params, net.xs[:, :2], 1)
    found = measured(task, batch, params, examples=2)
    np.testing.assert_allclose(found["lyapunov"], np.mean(exponents), rtol=1e-5)


@pytest.mark.usefixtures("eager")
def test_padding_has_no_influence(case):
    task, batch, params = case
    lengths = jnp.array([5, 3, 1, 0])
    found = measured(with_lengths(task, lengths), batch, params)
    norms, exponents = [], []
    for n in range(3):
        alone = jax.tree.map(
            lambda x, n=n: x[..., n : n + 1, :] if x.ndim == 3 else x[n : n + 1], batch
        )
        alone = alone._replace(xs=alone.xs[: int(lengths[n])])
        net = with_lengths(task, None).recurrence(params, alone)
        recording = flow.record(net.cell, net.params, net.xs, net.cost)
        norms.append(np.log10(np.asarray(flow.gradient_norms(recording.carry_ct))[::-1, 0]))
        exponents.append(float(flow.lyapunov_spectrum(net.cell, net.params, net.xs, 1)[0, 0]))
    for lag in LAGS:
        expected = np.mean([of_one[lag] for of_one in norms if lag < len(of_one)])
        np.testing.assert_allclose(found[f"log10_gradient_norm_lag_{lag}"], expected, rtol=1e-4)
    np.testing.assert_allclose(found["lyapunov"], np.mean(exponents), rtol=1e-4)


def test_the_identity_cell_has_constant_gradient_norm(case):
    task, batch, params = case
    cell = rnnjax.identity_rnn(4)
    identity = cell.init(jax.random.key(0), 2)

    def recurrence(params, batch):
        net = task.recurrence(params, batch)
        return net._replace(cell=cell, params=identity)

    found = measured(task._replace(recurrence=recurrence), batch, params, leaf="h")
    assert len({found[f"log10_gradient_norm_lag_{lag}"] for lag in LAGS}) == 1
    assert abs(found["lyapunov"]) < 1e-6


def test_no_gradient_at_all_is_minus_infinity(case):
    task, batch, params = case
    found = measured(task, batch, jax.tree.map(jnp.zeros_like, params))
    assert found["log10_gradient_norm_lag_4"] == -np.inf


def test_it_is_logged_during_training():
    task = tiny_task()
    result = fit(task, Settings(steps=4), callbacks=[flow_callback(2)], quiet=True)
    assert [entry["step"] for entry in result.history] == [2, 4]
    values = [entry["callbacks"]["log10_gradient_norm_lag_4"] for entry in result.history]
    assert values[0] != values[1]
    params, batch = result.params, task.batches(0)[3]
    assert measured(task, batch, params)["lyapunov"] == result.history[-1]["callbacks"]["lyapunov"]


def test_wrong_use_is_refused(case):
    task, batch, params = case
    with pytest.raises(ValueError, match="'tiny' does not expose its recurrent cell"):
        measured(task._replace(recurrence=None), batch, params)
    with pytest.raises(ValueError, match="every must be at least 1"):
        flow_callback(0)
    with pytest.raises(ValueError, match=r"field of the carry.*got 'c'"):
        measured(task, batch, params, leaf="c")
