"""Options of tasks and of training are of the type that they declare."""

import inspect

import optax
import pytest

import rnnjax
from rnnjax import tasks, training
from rnnjax.experiments._fields import fields_of

RECIPE = tasks.Recipe(10)


def test_every_option_of_every_task_is_checked_before_any_data_are_read():
    for entry in tasks.TASKS.values():
        for name, field in fields_of(entry.make).items():
            wrong = "no" if field.kind in (bool, int, float) else 3
            with pytest.raises(TypeError, match=f"{name} must be"):
                entry.make(**{name: wrong})
            if field.kind is float:
                with pytest.raises(ValueError, match=f"{name} must be a real number, got nan"):
                    entry.make(**{name: float("nan")})


def test_a_factory_of_cells_and_the_signature_are_as_before():
    assert tasks.parity(cell=rnnjax.gru, hidden=2).name == "parity"
    assert "permuted" in inspect.signature(tasks.sequential_digits).parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'hiden'"):
        tasks.parity(hiden=2)
    with pytest.raises(ValueError, match="permutation_seed must be at least 0, got -1"):
        tasks.sequential_digits(permutation_seed=-1)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (tasks.speech, {"rate": 16_000}, r"rate=16000 has no effect without data: leave it out"),
        (tasks.speech, {"words": 3}, r"words=3 has no effect with mode='word'"),
        (
            tasks.speech,
            {"mode": "ctc", "pooling": "max"},
            "pooling='max' has no effect with mode='ctc'",
        ),
        (tasks.caption, {"part": "dev"}, "part='dev' has no effect without data"),
        (tasks.caption, {"encoding": "latin-1"}, "encoding='latin-1' has no effect without data"),
        (
            tasks.sequential_digits,
            {"permutation_seed": 1},
            "permutation_seed=1 .* without permuted",
        ),
        (tasks.sequential_mnist, {"permutation_seed": 1}, "permutation_seed=1 .* without permuted"),
    ],
)
def test_options_without_effect_are_refused_before_any_data_are_read(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("skip_nonfinite", "no", TypeError, "True or False, got 'no'"),
        ("steps", "3", TypeError, "an int, got '3'"),
        ("log_every", None, TypeError, "an int, got None"),
        ("learning_rate", "1", TypeError, "a real number, got '1'"),
        ("average", True, TypeError, "a real number, got True"),
        ("optimizer", 3, TypeError, "a string, got 3"),
        ("weight_decay", float("nan"), ValueError, "a real number, got nan"),
        ("weight_decay", -1.0, ValueError, "at least 0 and finite, got -1.0"),
        ("seed", -1, ValueError, "at least 0, got -1"),
    ],
)
def test_settings(name, value, error, message):
    with pytest.raises(error, match=f"{name} must be {message}"):
        training.resolve(training.Settings(**{name: value}), RECIPE)


def test_arguments_of_fit_and_of_the_step():
    task = tasks.parity(hidden=2)
    for attempt, message in (
        (lambda: training.fit(tasks.parity), r"got the function parity: call it, as in parity\(\)"),
        (lambda: training.fit(task, {"steps": 3}), r"settings must be .*Settings\(steps=1000\)"),
        (lambda: training.resolve(training.Settings(), None), "recipe must be a Recipe, as Task"),
        (lambda: training.fit(task, quiet="no"), "quiet must be True or False"),
        (lambda: training.fit(task, resume=1), "resume must be True or False"),
        (lambda: training.fit(task, folder=3), "folder must be a path.* got 3"),
        (lambda: training.fit(task, config=[1]), "config must be a mapping"),
        (lambda: training.fit(task, callbacks=[print]), "callbacks must have `every`"),
        (lambda: training.train_step(None, optax.adam(1.0)), "loss must be a function"),
        (lambda: training.train_step(task.loss, optax.adam), "got the function adam"),
        (
            lambda: training.train_step(task.loss, optax.adam(1.0), compute_dtype="int32"),
            "compute_dtype must be a floating dtype, got 'int32'",
        ),
        (lambda: training.start_training({}, "adam"), "optimizer must be one of optax's"),
    ):
        with pytest.raises(TypeError, match=message):
            attempt()
