"""What `fit` refuses of a user's task, metric and callbacks, and in which words."""

import pytest
from tiny_task import tiny_task

from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import Settings, fit


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
