"""`fit(optimizer=...)`: any optimizer of optax, in place of the one that settings name."""

import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_task import RECIPE, tiny_task

from rnnjax.experiments.training import Settings, fit
from rnnjax.experiments.training._settings import resolve
from rnnjax.experiments.training._setup import learning_rates

SHORT = Settings(steps=6, log_every=2, evaluate_every=2)
SGD = optax.sgd(0.01, momentum=0.9)


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_given_optimizer_is_the_one_that_trains():
    rates = learning_rates(resolve(SHORT, RECIPE))
    same = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(rates, weight_decay=0.0))
    named, given = (
        fit(tiny_task(), SHORT, quiet=True),
        fit(tiny_task(), SHORT, optimizer=same, quiet=True),
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        given.params,
        named.params,
    )
    assert "learning_rate" in named.history[0]
    assert "learning_rate" not in given.history[0]
    assert [entry["clip_rate"] for entry in given.history] == [0.0] * 3


@pytest.mark.usefixtures("eager")
def test_its_updates_by_hand():
    task = tiny_task()
    result = fit(task, Settings(steps=2), optimizer=SGD, quiet=True)
    params = fit(task, Settings(steps=1), optimizer=optax.sgd(0.0), quiet=True).params
    trace = jax.tree.map(jnp.zeros_like, params)
    for step in range(2):
        grads = jax.grad(lambda p, step=step: task.loss(p, None, task.batches(0)[step], None)[0])
        trace = jax.tree.map(lambda g, t: g + 0.9 * t, grads(params), trace)
        params = jax.tree.map(lambda p, t: p - 0.01 * t, params, trace)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), result.params, params)


@pytest.mark.usefixtures("eager")
def test_it_is_given_the_cost():
    """As those need that lower the rate on a plateau."""

    def update(updates, state, params=None, *, value, **extra):
        return jax.tree.map(jnp.zeros_like, updates), jnp.asarray(value, state.dtype)

    watching = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    result = fit(tiny_task(), Settings(steps=1), optimizer=watching, quiet=True)
    assert float(result.state.opt_state) == pytest.approx(result.history[-1]["cost"])


def test_a_run_with_it_is_recorded_and_resumed(tmp_path):
    whole = fit(tiny_task(), SHORT, optimizer=SGD, quiet=True)
    first = SHORT._replace(steps=4)
    fit(tiny_task(), first, tmp_path, optimizer=SGD, quiet=True)
    settings = tomllib.loads((tmp_path / "config.toml").read_text("utf-8"))["settings"]
    assert settings["optimizer"] == "given"
    assert not {"learning_rate", "schedule", "warmup", "weight_decay"} & set(settings)
    with pytest.raises(ValueError, match=r"settings\.optimizer was 'given', is 'adamw'"):
        fit(tiny_task(), SHORT, tmp_path, resume=True, quiet=True)
    with pytest.raises(ValueError, match="does not fit the task"):
        fit(tiny_task(), SHORT, tmp_path, resume=True, optimizer=optax.sgd(0.01), quiet=True)
    resumed = fit(tiny_task(), SHORT, tmp_path, resume=True, optimizer=SGD, quiet=True)
    equal(resumed.params, whole.params)
    equal(resumed.state.opt_state, whole.state.opt_state)
    assert "extended" not in tomllib.loads((tmp_path / "config.toml").read_text("utf-8"))


def test_several_seeds_with_it():
    both = fit(tiny_task(), SHORT._replace(seeds=2, seed=3), optimizer=SGD, quiet=True)
    one = fit(tiny_task(), SHORT._replace(seed=4), optimizer=SGD, quiet=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-6),
        both.params,
        one.params,
    )


@pytest.mark.parametrize(
    ("settings", "optimizer", "error", "message"),
    [
        (
            {"learning_rate": 0.1},
            SGD,
            ValueError,
            r"learning_rate=0\.1 has no effect where `fit` is given an optimizer",
        ),
        ({"clip_norm": 1.0}, SGD, ValueError, r"clip_norm=1\.0 has no effect.*optax\.chain"),
        ({"clip_value": 1.0}, SGD, ValueError, "clip_value"),
        ({"optimizer": "adam"}, SGD, ValueError, "optimizer='adam' has no effect"),
        ({"optimizer": SGD}, None, TypeError, "give it to `fit` itself, beside the settings"),
        ({}, "sgd", TypeError, r"one of optax's.*got 'sgd'.*Settings\(optimizer='sgd'\)"),
        ({}, optax.sgd, TypeError, "got the function sgd"),
    ],
)
def test_what_is_refused(settings, optimizer, error, message):
    with pytest.raises(error, match=message):
        fit(tiny_task(), Settings(**settings), optimizer=optimizer, quiet=True)
