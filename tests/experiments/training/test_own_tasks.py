"""What `fit` refuses of a user's task, metric and callbacks, and in which words."""

import json

import pytest
from tiny_task import tiny_task

from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import Settings, fit
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
