"""A valid call of every public function of `rnnjax.experiments`."""

import inspect
from pathlib import Path

import data_files
import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image
from wrong_calls import Call

import rnnjax
from rnnjax.experiments import data, tasks, training
from rnnjax.experiments.illustrate import illustrate
from rnnjax.experiments.tasks import Metric, Recipe, Recurrence, Task

KEY = jax.random.key(0)
CELL = rnnjax.gru(4)
XS = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
LENGTHS = [3, 5, 2, 4, 4, 3]


def _init(key):
    return jax.tree.map(lambda x: x.astype(jnp.float32), CELL.init(key, 2))


def _loss(params, carry, batch, key):
    return jnp.mean(rnnjax.unroll(CELL, params, batch)[1]), (None, {})


TASK = Task(
    name="tiny",
    init=_init,
    loss=_loss,
    batches=lambda seed: [jnp.asarray(XS)] * 9,
    evaluate=lambda params: {"mse": 1.0},
    metric=Metric("mse", "min"),
    recipe=Recipe(2, evaluate_every=1),
    recurrence=lambda params, batch: Recurrence(CELL, params, batch, lambda carry, ys: ys.sum()),
)


def _of_task(name):
    """The form of what a task learns."""
    make = getattr(tasks, name)

    def call(**arguments):
        task = make(**arguments)
        return task.name, task.recipe, jax.eval_shape(task.init, KEY)

    call.__signature__ = inspect.signature(make)
    return call


def _task_call(name, **changes):
    parameters = inspect.signature(getattr(tasks, name)).parameters
    defaults = {n: p.default for n, p in parameters.items() if p.default is not None}
    return Call(_of_task(name), {**defaults, "hidden": 4, "batch_size": 3, **changes})


def _fitted(**arguments):
    return training.fit(**arguments).params


_fitted.__signature__ = inspect.signature(training.fit)
_TOY = rnnjax.vanilla(3)
_adam = optax.adam(1e-3)
_params = _init(KEY)


# Right with another result: any params, any carry, fewer or more of a list.
_ANY_PARAMS = ("params.*",)
_ANY_LENGTH = (".*: one (less|more)", "columns: None", "lengths: (None|number)")
_ACCEPTED = {
    "log_mel": ("samples: longer",),
    "steps_per_epoch": ("examples: -1",),
    "store_tokens": ("texts: leaf 0 another axis",),
    "flow_callback": ("leaf: unknown",),  # the task is not known yet
    "global_norm": ("tree: leaf 0 another dtype",),
    "check_writable": ("folder: missing",),
    "digest_arrays": (".*",),  # any arrays
    "is_unused": ("folder: missing",),
    "read_metrics": ("folder: missing", "last: -1"),
    "logged_mean": ("value: (None|number)",),
    "logged_values": ("value: (None|number)",),
    "measure_flow": ("net: .*",),
    "train_and_measure": ("settings: .*", "progress: .*"),
}


def _compiled(function, arguments):
    return Call(function, arguments, eager=False)


def calls(folder: Path) -> dict[str, Call]:
    """They read files that are written into this folder."""
    text = folder / "text.txt"
    text.write_text("a line of words\nanother line of words\n" * 9)
    table = folder / "table.csv"
    table.write_text("text,label,x\n" + "".join(f"word {i},{i % 2},{i}\n" for i in range(60)))
    captions = data_files.table(folder / "captions.txt", {"a.png": ["one", "two"]})
    wavs = folder / "wavs"
    wavs.mkdir()
    data_files.flat(wavs, range(2))
    wav = next(wavs.iterdir())
    mnist = folder / "mnist"
    mnist.mkdir()
    part = (np.zeros((4, 28, 28)), np.arange(4))
    data_files.fill(mnist, {"train": part, "t10k": part})
    reviews = folder / "reviews"
    reviews.mkdir()
    data_files.write_reviews(reviews)
    image = folder / "image.png"
    Image.new("RGB", (9, 7)).save(image)
    pictures = folder / "pictures"
    pictures.mkdir()
    for name in (f"{n}.png" for n in "abcdefghijkl"):
        Image.new("RGB", (9, 7)).save(pictures / name)
    data_files.table(pictures / "captions.txt", {f"{n}.png": ["one two"] for n in "abcdefghijkl"})
    run = folder / "run"
    training.fit(TASK, training.Settings(steps=1), run, quiet=True)
    small = {"hidden": 2, "max_length": 3, "test_length": 3, "test_size": 2, "batch_size": 2}
    parity = folder / "parity"
    training.fit(
        tasks.parity(**small),
        training.Settings(steps=1),
        parity,
        quiet=True,
        config={"options": small},
    )
    state = training.start_training(_params, _adam)
    model = folder / "model.safetensors"
    rnnjax.save(model, CELL, _params)
    d = data
    reading = {"path": table, "columns": ["text", "x"], "encoding": "utf-8", "kind": "csv"}
    reading |= {"delimiter": ",", "decimal": ".", "header": True, "compression": "none"}
    table_of_calls = {
        "save": Call(rnnjax.save, {"path": folder / "other", "cell": CELL, "params": _params}),
        "rnnjax.load": Call(rnnjax.load, {"path": model, "cell": CELL, "like": _params}),
        "batches_by_length": Call(d.batches_by_length, {"lengths": LENGTHS, "batch_size": 2}),
        "bucket_sizes": Call(d.bucket_sizes, {"lengths": LENGTHS, "count": 2}),
        "bucketed_batches": Call(
            lambda **k: d.bucketed_batches(**k)[0],
            {"lengths": LENGTHS, "batch_size": 2, "seed": 1, "drop_remainder": True, "mixing": 0.1},
        ),
        "cached": Call(
            lambda function, limit: d.cached(function, limit)(3),
            {"function": np.arange, "limit": 100},
        ),
        "digits": Call(lambda **k: d.digits(**k), {"seed": 0, "test_fraction": 0.2}),
        "download_reviews": Call(
            lambda name: None if name == "imdb" else d.download_reviews(name), {"name": "imdb"}
        ),
        "learn_vocabulary": Call(
            lambda **k: list(d.learn_vocabulary(**k).entries),
            {"texts": ["a b", "b c"], "units": "words", "lowercase": True, "specials": ("<unk>",)},
        ),
        "log_mel": Call(
            d.log_mel,
            {"samples": np.ones(800), "rate": 8000, "filters": 10, "window": 0.025, "hop": 0.01},
        ),
        "mackey_glass": Call(d.mackey_glass, {"length": 20, "delay": 17}),
        "mnist": Call(d.mnist, {"folder": mnist}),
        "open_captioned_pictures": Call(
            lambda **k: d.open_captioned_pictures(**k)._fields,
            {"folder": pictures, "side": 8, "part": "test", "encoding": "utf-8"},
        ),
        "open_corpus": Call(
            lambda **k: d.open_corpus(**k).train.shape,
            {
                "path": text,
                "units": "words",
                "lowercase": True,
                "max_words": 20,
                "held_out": 0.1,
                "part": "valid",
                "encoding": "utf-8",
            },
        ),
        "open_lines": Call(
            lambda **k: list(d.open_lines(**k)), {"path": text, "encoding": "utf-8"}
        ),
        "open_recordings": Call(
            lambda **k: len(d.open_recordings(**k).labels), {"folder": wavs, "rate": 8000}
        ),
        "open_reviews": Call(
            lambda **k: d.open_reviews(**k)._fields,
            {
                "path": table,
                "text": "text",
                "label": "label",
                "header": True,
                "encoding": "utf-8",
            },
        ),
        "read_rows": Call(
            lambda **k: list(d.read_rows(**k)),
            reading,
        ),
        "pad": Call(d.pad, {"arrays": [np.ones(2), np.ones(3)], "sizes": [4, 8], "fill": 0.5}),
        "picture": Call(
            lambda **k: d.picture(**k), {"index": 1, "part": "train", "side": 8, "seed": 0}
        ),
        "read_blocks": Call(
            lambda **k: list(d.read_blocks(**k)), {"path": text, "encoding": "utf-8"}
        ),
        "read_captions": Call(d.read_captions, {"path": captions, "encoding": "utf-8"}),
        "read_column": Call(
            lambda **k: d.read_column(**k).values,
            {
                "path": table,
                "column": "x",
                "missing": "error",
                "header": True,
                "decimal": ".",
                "thousands": "'",
                "percent": False,
                "encoding": "utf-8",
                "compression": "none",
            },
        ),
        "digest_arrays": Call(lambda one: d.digest_arrays(one), {"one": 1}),
        "digest_files": Call(d.digest_files, {"paths": [text, table]}),
        "read_idx": Call(d.read_idx, {"path": mnist / "train-labels-idx1-ubyte"}),
        "read_image": Call(d.read_image, {"path": image, "side": 8}),
        "read_wav": Call(d.read_wav, {"path": wav, "rate": 4000}),
        "write_wav": Call(
            d.write_wav, {"path": folder / "new.wav", "samples": np.zeros(8), "rate": 8000}
        ),
        "steps_per_epoch": Call(
            d.steps_per_epoch, {"examples": 9, "batch_size": 2, "drop_remainder": True}
        ),
        "store_tokens": Call(
            lambda texts, vocabulary: np.asarray(d.store_tokens(texts, vocabulary)[0]),
            {"texts": [np.array([1, 2]), np.array([3])], "vocabulary": 5},
        ),
        "stripped_lines": Call(
            lambda **k: list(d.stripped_lines(**k)), {"path": text, "encoding": "utf-8"}
        ),
        "synthetic_pictures": Call(
            lambda **k: d.synthetic_pictures(**k)._fields, {"train": 4, "test": 2, "side": 8}
        ),
        "synthetic_recordings": Call(
            lambda **k: len(d.synthetic_recordings(**k).labels),
            {"speakers": 2, "takes": 1, "seed": 0},
        ),
        **{
            name: _task_call(name)
            for name in [
                *("adding", "copying", "counting", "delayed_xor", "match_to_sample"),
                *("parity", "sequential_digits", "sine", "temporal_order"),
            ]
        },
        "dyck": _task_call("dyck", max_length=4, test_length=6),
        "lorenz": _task_call("lorenz")._replace(eager=False),  # it integrates a long trajectory
        "caption": _task_call("caption", pictures=8, test_pictures=4, side=8),
        "language": _task_call("language", text=text, unroll_steps=4, batch_size=2),
        "sentiment": _task_call("sentiment", data=reviews, dataset="imdb", folds=3),
        "sequential_mnist": _task_call("sequential_mnist", data=mnist, test_size=2),
        "series": _task_call("series", csv=table, column="x", horizon=2, window=3),
        "speech": _task_call("speech", data=wavs, held_out="theo"),
        "make_cell": Call(tasks.make_cell, {"cell": "gru", "hidden": 4, "layers": 2}),
        "cached_batches": Call(
            lambda batches: training.cached_batches(batches)(0)[0], {"batches": TASK.batches}
        ),
        "comparison_task": Call(
            lambda **k: training.comparison_task(**k).name,
            {"name": "adding", "cell": "gru", "hidden": 4, "options": {}, "gradient": "bptt"},
        ),
        "check_memory": Call(
            lambda **k: training.check_memory(TASK, chosen={}, **k),
            {"settings": training.resolve(training.Settings(steps=1), TASK.recipe)},
            (".*",),  # of what `resolve` returns
        ),
        "check_writable": Call(training.check_writable, {"folder": run}),
        "deferred_interrupt": Call(lambda: training.deferred_interrupt().__enter__(), {}),
        "fit": Call(
            _fitted,
            {
                "task": TASK,
                "settings": training.Settings(steps=1),
                "callbacks": (),
                "optimizer": _adam,
                "resume": False,
                "quiet": True,
                "tensorboard": False,
            },
        ),
        "early_stopping": Call(training.early_stopping, {"patience": 2}),
        "flow_callback": Call(
            training.flow_callback, {"every": 2, "leaf": "h", "eigenvalues": True}
        ),
        "global_norm": Call(training.global_norm, {"tree": {"a": XS}}),
        "is_unused": Call(training.is_unused, {"folder": run}),
        "load": Call(training.load, {"folder": run, "task": TASK, "which": "last", "member": 0}),
        "load_model": Call(
            lambda **k: training.load_model(**k).params,
            {"folder": parity, "which": "last", "member": 0},
        ),
        "logged_mean": Call(training.logged_mean, {"value": [1.0, 2.0]}),
        "logged_values": Call(training.logged_values, {"value": [1.0, 2.0]}),
        "measure_flow": _compiled(
            training.measure_flow, {"net": TASK.recurrence(_params, XS), "examples": 1}
        ),
        "illustrate": Call(
            illustrate,
            {
                "cell": _TOY,
                "params": _TOY.init(KEY, 2),
                "xs": jnp.ones((1, 2)),
                "targets": jnp.ones((1, 3)),
                "carry": _TOY.initial_carry(_TOY.init(KEY, 2), ()),
                "weights_from": "a file",
            },
            ("weights_from: unknown",),
        ),
        "peak_learning_rate": Call(
            training.peak_learning_rate, {"cell": "gru", "recipe": TASK.recipe}
        ),
        "read_config": Call(training.read_config, {"folder": run}),
        "read_metrics": Call(training.read_metrics, {"folder": run, "last": 1}),
        "training.resolve": Call(
            training.resolve, {"settings": training.Settings(steps=1), "recipe": TASK.recipe}
        ),
        "start_training": Call(
            training.start_training,
            {"params": _params, "optimizer": _adam, "key": KEY, "average": True},
            _ANY_PARAMS,
        ),
        "train_and_measure": _compiled(
            lambda **k: training.train_and_measure(**k)._fields,
            {
                "cell": "gru",
                "task": TASK,
                "settings": training.ComparisonSettings(4, 1),
                "progress": print,
            },
        ),
        "train_step": Call(
            lambda **k: training.train_step(**k)(state, jnp.asarray(XS))[1].cost,
            {
                "loss": _loss,
                "optimizer": _adam,
                "accumulate": 1,
                "compute_dtype": "float32",
                "average": 0.0,
                "skip_nonfinite": True,
            },
        ),
    }
    return {
        name: call._replace(accepted=(*call.accepted, *_ANY_LENGTH, *_ACCEPTED.get(name, ())))
        for name, call in table_of_calls.items()
    }
