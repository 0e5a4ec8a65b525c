"""Callbacks at evaluations, with the history, and those that end a run before its last step."""

import json
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from tiny_task import tiny_task

from rnnjax.experiments.tasks import Metric
from rnnjax.experiments.training import (
    Settings,
    StopTraining,
    early_stopping,
    fit,
    load,
    read_metrics,
)

SHORT = Settings(steps=8, evaluate_every=2, log_every=1)


def scored(scores, name="mse"):
    each = iter(scores)
    return tiny_task()._replace(evaluate=lambda params: {"mse": 0.0, name: next(each)})


class Watching(NamedTuple):
    """Notes the step and what it is given of the history; stops at a step."""

    seen: list[Any]
    every: int | None = None
    last: int = 100
    at_start: bool = False

    def __call__(self, step, state, batch, task, history=()):
        self.seen.append((step, [entry["step"] for entry in history], history[-1:]))
        if step >= self.last:
            raise StopTraining(f"seen enough at {step}")


@pytest.mark.usefixtures("eager")
def test_a_callback_without_an_interval_is_called_at_evaluations():
    task = scored([3.0, 2.0, 4.0, 1.0])
    watching = Watching([], at_start=True)
    result = fit(task, SHORT, callbacks=[watching], quiet=True)
    assert [step for step, *_ in watching.seen] == [0, 2, 4, 6, 8]
    assert [steps for _, steps, _ in watching.seen][:3] == [[0], [0, 1, 2], [0, 1, 2, 3, 4]]
    last = [entries[-1].get("evaluation") for *_, entries in watching.seen]
    assert last == [None, *({"mse": value} for value in (3.0, 2.0, 4.0, 1.0))]
    assert watching.seen[1][2][0]["cost"] == result.history[2]["cost"]


@pytest.mark.usefixtures("eager")
def test_a_callback_ends_a_run_with_its_result(tmp_path, capsys):
    task, log = tiny_task(), Watching([], every=1)
    callbacks = [Watching([], every=3, last=3), log]
    result = fit(task, SHORT, tmp_path, callbacks)
    assert int(result.state.step) == 3
    assert result.stopped == "seen enough at 3"
    assert [step for step, *_ in log.seen] == [1, 2, 3]  # the others are called as well
    alone = fit(task, SHORT, callbacks=callbacks[:1], quiet=True)
    jax.tree.map(np.testing.assert_array_equal, result.params, alone.params)
    assert result.metrics == {"mse": pytest.approx(task.evaluate(result.params)["mse"])}
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 2, 3]
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path, task), result.params)
    content = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert (content["steps"], content["stopped"]) == (3, "seen enough at 3")
    assert "stopped after step 3 of 8: seen enough at 3" in capsys.readouterr().err
    rest = fit(task, SHORT, tmp_path, resume=True, quiet=True)
    whole = fit(task, SHORT, quiet=True)
    assert (int(rest.state.step), rest.stopped) == (8, None)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), rest.params, whole.params
    )


@pytest.mark.usefixtures("eager")
def test_a_run_may_end_before_its_first_step():
    result = fit(tiny_task(), SHORT, callbacks=[Watching([], last=0, at_start=True)], quiet=True)
    assert (int(result.state.step), result.stopped) == (0, "seen enough at 0")
    assert result.metrics == {}


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("scores", "select", "patience", "last"),
    [
        ([3.0, 1.0, 2.0, 1.0], None, 2, 8),
        ([1.0, 1.0, 2.0], None, 2, 6),
        ([1.0, 2.0], None, 1, 4),
        ([float("nan"), 1.0, 2.0, 3.0], None, 2, 8),
        ([3.0, 1.0, 2.0], Metric("valid", "max"), 2, 6),
    ],
)
def test_early_stopping_waits_for_a_better_evaluation(scores, select, patience, last):
    task = scored(scores, "mse" if select is None else "valid")._replace(select=select)
    result = fit(task, SHORT, callbacks=[early_stopping(patience)], quiet=True)
    assert int(result.state.step) == last
    best = 2 * (1 + int(np.nanargmin(scores) if select is None else np.nanargmax(scores)))
    assert result.best["step"] == best
    name = "mse" if select is None else "valid"
    expected = f"{name} has not been better than at step {best} in {patience} evaluation"
    assert (result.stopped is None) == (last == 8)
    assert result.stopped is None or expected in result.stopped


def test_early_stopping_remembers_through_a_resumption(tmp_path):
    task = scored([1.0, 2.0, 2.0])
    fit(task, SHORT._replace(steps=4), tmp_path, quiet=True)
    stop = early_stopping(2)
    result = fit(task, SHORT, tmp_path, [stop], resume=True, quiet=True)
    assert int(result.state.step) == 6


@pytest.mark.parametrize(
    ("patience", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_what_is_refused(patience, error):
    with pytest.raises(error, match="patience must be"):
        early_stopping(patience)
