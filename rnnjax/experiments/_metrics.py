"""Metrics of tasks: whether one is well formed."""

from typing import Any

from rnnjax._arguments import check_text
from rnnjax._checks import check_choice, described
from rnnjax.experiments.tasks import Metric

GOALS = ("max", "min")


def check_metric(name: str, metric: Any) -> Metric:
    """`metric`, if it is a `Metric` whose goal says which of two values is the better one."""
    if not isinstance(metric, Metric):
        raise TypeError(
            f'{name} must be a tasks.Metric, such as Metric("accuracy", "max"), got '
            f"{described(metric)}"
        )
    check_text(f"{name}.name", metric.name)
    check_choice(f"{name}.goal", metric.goal, GOALS)
    check_text(f"{name}.unit", metric.unit)
    return metric
