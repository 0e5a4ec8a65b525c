import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import T, tiny_task

from rnnjax import flow
from rnnjax.experiments.training import Settings, fit, flow_callback, start_training

LAGS = [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("eager")
def test_it_measures_the_first_batch_whatever_the_step_trained_on():
    task = tiny_task()
    params = task.init(jax.random.key(3))
    state = start_training(params, optax.sgd(0.1))
    found = flow_callback(1)(7, state, task.batches(0)[3], task)
    net = task.recurrence(params, task.batches(0)[0])
    net = net._replace(params=jax.tree.map(jnp.float64, net.params), xs=jnp.float64(net.xs))
    norms = flow.gradient_norms(flow.record(net.cell, net.params, net.xs, net.cost, last=True))
    assert [*found][:6] == [*(f"log10_gradient_norm_lag_{lag}" for lag in LAGS), "lyapunov"]
    for lag in LAGS:
        expected = np.log10(np.median(np.asarray(norms)[T - 1 - lag]))
        np.testing.assert_allclose(found[f"log10_gradient_norm_lag_{lag}"], expected, rtol=1e-12)
    exponents = flow.lyapunov_spectrum(net.cell, net.params, net.xs, 1)
    np.testing.assert_allclose(found["lyapunov"], np.mean(exponents), rtol=1e-12)


def test_it_is_logged_during_training_and_read_back(tmp_path):
    task = tiny_task()
    result = fit(task, Settings(steps=4), tmp_path, [flow_callback(2, leaf="h")], quiet=True)
    assert [entry["step"] for entry in result.history] == [2, 4]
    watched = flow.read_watch(tmp_path)
    assert watched.steps.tolist() == [2, 4]
    assert watched.lags.tolist() == LAGS
    norms = watched.log10_norms[""]
    assert norms[0, 4] != norms[1, 4]
    assert result.history[1]["callbacks"]["log10_gradient_norm_lag_4"] == norms[1, 4]


def test_wrong_use_is_refused():
    task = tiny_task()
    state = start_training(task.init(jax.random.key(3)), optax.sgd(0.1))
    batch = jax.tree.map(jnp.asarray, task.batches(0)[0])
    with pytest.raises(ValueError, match="'tiny' does not expose its recurrent cell"):
        flow_callback(1)(1, state, batch, task._replace(recurrence=None))
    with pytest.raises(ValueError, match="every must be at least 1"):
        flow_callback(0)
    with pytest.raises(ValueError, match=r"field of the carry.*got 'c'"):
        flow_callback(1, leaf="c")(1, state, batch, task)
