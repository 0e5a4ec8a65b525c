"""What `fit` refuses of a user's task, metric and callbacks, and in which words."""

import json
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_task import B, tiny_task

from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import Settings, fit, read_metrics
from rnnjax.experiments.training._checkpoints import Checkpoints


def refused(error, message, task, **arguments):
    with pytest.raises(error, match=message):
        fit(task, Settings(steps=2, evaluate_every=1), quiet=True, **arguments)


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (Metric("mse", "maximize"), ValueError, r"task\.metric\.goal must be one of 'max', 'min'"),
        (Metric("mse", "Min"), ValueError, "got 'Min'; did you mean 'min'"),
        (Metric(3, "min"), TypeError, r"task\.metric\.name must be a str, got 3"),
        (Metric("mse", "min", None), TypeError, r"task\.metric\.unit must be a str"),
        ("mse", TypeError, r"task\.metric must be a tasks\.Metric.*got 'mse'"),
    ],
)
def test_a_metric_says_which_value_is_better(metric, error, message):
    refused(error, message, tiny_task()._replace(metric=metric))


def scored(scores):
    """A task whose evaluations are these, one after another."""
    each = iter(scores)
    return tiny_task()._replace(evaluate=lambda params: next(each))


@pytest.mark.usefixtures("eager")
def test_a_task_may_choose_its_best_by_another_metric(tmp_path):
    test, valid = [3.0, 1.0, 2.0, 4.0], [0.5, 0.6, 0.8, 0.7]
    task = scored({"mse": a, "valid": b} for a, b in zip(test, valid, strict=True))
    task = task._replace(select=Metric("valid", "max"))
    settings = Settings(steps=4, evaluate_every=1, checkpoint_every=4)
    result = fit(task, settings, tmp_path, quiet=True)
    assert result.best == {"step": 3, "value": 2.0}
    assert Checkpoints(tmp_path).best() == 3
    content = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert content["select"] == {"name": "valid", "goal": "max", "unit": ""}
    assert content["metric"]["name"] == "mse"
    refused(ValueError, r"task\.select\.goal", task._replace(select=Metric("valid", "high")))


def losing(returned):
    """A task whose loss returns this, made from its cost, errors [B] and carry."""

    def loss(params, carry, batch, key):
        errors = jnp.sum(params.out) - batch.targets
        return returned(jnp.mean(errors**2), errors, carry)

    return tiny_task()._replace(loss=loss)


PAIRS = r"a loss must return \(cost, \(carry, metrics\)\)"


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda cost, errors, carry: cost, TypeError, rf"{PAIRS}.*got float32\[\]"),
        (lambda cost, errors, carry: (cost, {"a": cost}), TypeError, rf"{PAIRS}.*got a tuple"),
        (
            lambda cost, errors, carry: (cost, (carry, cost)),
            TypeError,
            "got metrics that are float",
        ),
        (
            lambda cost, errors, carry: (errors, (carry, {})),
            ValueError,
            r"the cost of a loss must be a scalar, got float32\[4\]: take its mean",
        ),
        (
            lambda cost, errors, carry: (cost, (carry, {"off": errors})),
            ValueError,
            r"the metric 'off' of a loss must be a scalar, got float32\[4\]",
        ),
        (
            lambda cost, errors, carry: (jnp.argmax(errors), (carry, {})),
            TypeError,
            r"the cost of a loss must be a real float, got int",
        ),
        (
            lambda cost, errors, carry: (cost, (errors, {})),
            ValueError,
            r"the form of the one it took, None, got float32\[4\]: give its .*initial_carry",
        ),
    ],
)
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"compute_dtype": "bfloat16"}])
def test_what_a_loss_must_return(returned, error, message, options):
    message = message.replace("float32", r"\w*float\d+")
    with pytest.raises(error, match=message):
        fit(losing(returned), Settings(steps=2, **options), quiet=True)


def test_the_cost_of_a_loss_may_come_with_counts():
    task = losing(lambda cost, errors, carry: (cost, (carry, {"n": jnp.sum(errors > 0), "one": 1})))
    training = fit(task, Settings(steps=2), quiet=True).history[-1]["training"]
    assert training == {"n": pytest.approx(2, abs=2), "one": 1.0}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        (
            0.5,
            TypeError,
            r"task\.evaluate must return scores by name, such as {'mse': 0\.5}, got 0",
        ),
        (
            {"acc": 1.0},
            ValueError,
            "must return the score 'mse' that task.metric names, got a dict w",
        ),
        ({"mse": "low"}, TypeError, "the score 'mse' that task.evaluate returns must be a number"),
        ({"mse": 0.5, "each": np.ones(3)}, TypeError, r"the score 'each' .* got float64\[3\]"),
    ],
)
def test_what_an_evaluation_must_return(scores, error, message):
    refused(error, message, scored([scores]))


@pytest.mark.usefixtures("eager")
def test_an_evaluation_must_return_what_selects():
    task = scored([{"mse": 1.0}])._replace(select=Metric("valid", "min"))
    refused(ValueError, r"the score 'valid' that task\.select names", task)


@pytest.mark.usefixtures("eager")
def test_a_result_holds_floats_where_the_log_has_words(tmp_path):
    """NaN and infinities, which JSON has not, are null and words in the history alone."""
    each = [{"mse": math.inf, "other": -math.inf}, {"mse": math.nan, "other": 1.0}]
    settings = Settings(steps=2, evaluate_every=1)
    result = fit(scored(each), settings, tmp_path, quiet=True)
    assert math.isnan(result.metrics.pop("mse"))
    assert result.metrics == {"other": 1.0}
    assert result.best == {"step": 1, "value": math.inf}
    history = [entry["evaluation"] for entry in result.history]
    assert history == [{"mse": "inf", "other": "-inf"}, {"mse": None, "other": 1.0}]
    assert read_metrics(tmp_path) == result.history
    again = fit(scored([]), settings, tmp_path, resume=True, quiet=True)  # read from the log
    assert math.isnan(again.metrics["mse"])
    both = [{"mse": math.nan}, {"mse": 2.0}]
    result = fit(scored(both), Settings(steps=1, seeds=2), quiet=True)
    assert math.isnan(result.metrics["mse"][0])
    assert result.metrics["mse"][1] == 2.0
    assert isinstance(result.metrics["mse"], list)


class Returning(NamedTuple):
    returned: Any
    every: int = 1

    def __call__(self, step, state, batch, task):
        return self.returned


@pytest.mark.usefixtures("eager")
def test_what_a_callback_may_return(tmp_path):
    logged = {"a": np.ones((1, 2)), "b": jnp.float32(3), "c": "words", "d": {"e": math.nan}}
    result = fit(
        tiny_task(),
        Settings(steps=1),
        tmp_path,
        [Returning(None), Returning(logged)],
        tensorboard=True,
        quiet=True,
    )
    expected = {"a": [[1.0, 1.0]], "b": 3.0, "c": "words", "d": {"e": None}}
    assert result.history[-1]["callbacks"] == expected
    for returned, message in (
        (3.0, r"a callback must return what to log by name, .* or None, got 3\.0"),
        ({"a": {1, 2}}, "must return numbers, or lists of them, to log, got 'a': the set"),
    ):
        refused(TypeError, message, tiny_task(), callbacks=[Returning(returned)])


@pytest.mark.usefixtures("eager")
def test_callbacks_do_not_overwrite_each_other():
    callbacks = [Returning({"a": 1, "b": np.ones(2)}), Returning({"b": [1.0, 1.0]})]
    fit(tiny_task(), Settings(steps=1), callbacks=callbacks, quiet=True)
    callbacks[1] = Returning({"b": [1.0, 2.0]})
    message = r"two callbacks return 'b' at step 1, and not the same: .* under another name"
    refused(ValueError, message, tiny_task(), callbacks=callbacks)


@pytest.mark.parametrize("name", ["settings", "versions", "extended"])
def test_a_config_does_not_take_the_names_of_a_run(name, tmp_path):
    message = f"config must not have the name '{name}', which is the run's own"
    for folder in (None, tmp_path):
        refused(ValueError, message, tiny_task(), config={name: 1}, folder=folder)


def test_what_a_task_must_be_made_of():
    task = tiny_task()
    changed = task._replace(batches=[1])
    refused(TypeError, r"task\.batches must be a function \(seed\)", changed)
    refused(TypeError, r"task\.init must be a function \(key\)", task._replace(init=None))
    refused(TypeError, r"task\.initial_carry must be a func", task._replace(initial_carry=0))
    refused(TypeError, r"task\.recipe must be a Recipe", task._replace(recipe=Settings()))
    drawn = task._replace(batches=lambda seed: (batch for batch in ()))
    refused(TypeError, r"task\.batches\(0\) must be indexed by step.*got the generator", drawn)
    few = task._replace(batches=lambda seed: [task.batches(0)[0]] * 3)
    with pytest.raises(ValueError, match=r"task\.batches\(7\) has 3 batches, and the run needs 4"):
        fit(few, Settings(steps=2, accumulate=2, seed=7), quiet=True)
    counted = task._replace(init=lambda key: {"w": jnp.zeros(3), "n": jnp.zeros((), int)})
    refused(TypeError, r"params\['n'\] is int\d+\[\]: params are what is trained, floats", counted)
    terms = task._replace(terms=lambda batch: jnp.ones(B))
    with pytest.raises(ValueError, match=r"terms must return one number .*got float\d+\[4\]"):
        fit(terms, Settings(steps=1, accumulate=2), quiet=True)


def test_a_few_batches_are_enough_for_a_short_run(tmp_path):
    task = tiny_task()._replace(batches=lambda seed: [tiny_task().batches(0)[0]])
    fit(task, Settings(steps=1), tmp_path, quiet=True)
    fit(task, Settings(steps=1), tmp_path, resume=True, quiet=True)
