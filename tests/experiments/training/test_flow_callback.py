import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import T, tiny_task

from rnnjax import flow
from rnnjax.experiments.training import (
    Interrupted,
    Settings,
    fit,
    flow_callback,
    read_metrics,
    resolve,
    start_training,
)
from rnnjax.experiments.training._setup import initial_state

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


def test_it_measures_before_the_first_step_once(tmp_path):
    """Also in a run that is interrupted before that, during it and after it, and resumed."""
    good = tiny_task()
    task = good._replace(digest=lambda: "tiny")
    settings = Settings(steps=6, log_every=2, dispatch=1)
    callbacks = [flow_callback(2, at_start=True)]
    drawn = [jax.tree.map(jnp.asarray, good.batches(0)[step]) for step in range(6)]

    class Batches:
        stop = 0

        def __getitem__(self, step):
            if step == self.stop:
                signal.raise_signal(signal.SIGINT)
            return drawn[step]

    class LaterBatches(Batches):
        stop = 2

    def measured(params, batch):
        signal.raise_signal(signal.SIGINT)
        return good.recurrence(params, batch)

    for change, steps in [
        ({"batches": lambda seed: Batches()}, []),
        ({"recurrence": measured}, [0]),
        ({"batches": lambda seed: LaterBatches()}, [0, 2]),
    ]:
        stopped = task._replace(**change)
        with pytest.raises(Interrupted):
            fit(stopped, settings, tmp_path, callbacks, resume=True, quiet=True)
        assert [entry["step"] for entry in read_metrics(tmp_path)] == steps
    result = fit(task, settings, tmp_path, callbacks, resume=True, quiet=True, tensorboard=True)
    assert [entry["step"] for entry in result.history] == [0, 2, 4, 6]
    assert result.history == read_metrics(tmp_path)
    watched = flow.read_watch(tmp_path)
    assert watched.steps.tolist() == [0, 2, 4, 6]
    state = initial_state(good, resolve(settings, good.recipe))
    expected = flow_callback(1)(0, state, None, good)
    first = result.history[0]
    assert first["cost"] is None
    assert first["callbacks"].keys() == expected.keys()
    for name in ("lyapunov", *(f"log10_gradient_norm_lag_{lag}" for lag in LAGS)):
        np.testing.assert_allclose(first["callbacks"][name], expected[name], rtol=1e-6)
    assert first["callbacks"] != result.history[1]["callbacks"]


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
