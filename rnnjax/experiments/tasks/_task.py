"""The interface of a task: data, model, loss and metric in one value, for any training loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from rnnjax._types import Array, Carry, Params, PyTree
from rnnjax.flow import Recurrence

Batch = PyTree  # a NamedTuple of arrays, time first


class Batches(Protocol):
    """Training batches indexed by step, in an order determined by a seed.

    `batches[step]` is always the same batch, so a resumed run needs only the step. A
    `grain.MapDataset` implements this; so does an object that draws a batch from a key and the
    step.
    """

    def __getitem__(self, step: int, /) -> Batch: ...


class Loss(Protocol):
    """`(params, carry, batch, key) -> (cost, (carry, metrics))`, pure.

    The cost is a scalar, a mean over the batch; `metrics` are further scalars by name. `carry` is
    the state that one batch passes to the next (stateful truncated BPTT; the gradient stops
    there), None for all other tasks. A `key` turns dropout on; without one the model runs in
    evaluation mode.
    """

    def __call__(
        self, params: Params, carry: Carry, batch: Batch, key: Array | None, /
    ) -> tuple[Array, tuple[Carry, dict[str, Array]]]: ...


class Metric(NamedTuple):
    """The metric by which models are compared: a key of the scores that `Task.evaluate` returns."""

    name: str
    goal: Literal["max", "min"]
    unit: str = ""


class Recipe(NamedTuple):
    """The default training settings of a task."""

    steps: int
    learning_rate: float = 1e-3  # at its peak
    schedule: Literal["cosine", "constant"] = "cosine"  # after the warm-up
    warmup: float = 0.05  # share of the steps with a linear warm-up from zero
    optimizer: str = "adamw"  # a name in optax
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0  # maximum global norm of the gradient
    average: float = 0.0  # decay of the EMA of params that is evaluated; 0 for none
    evaluate_every: int = 200  # steps between evaluations


class Task(NamedTuple):
    """A problem with a model to train on it.

    Made by a factory such as `tasks.parity(hidden=32)`; `training.fit(task, ...)` trains it, as
    does any loop of your own:

        params, carry = task.init(key), task.initial_carry()
        (cost, (carry, metrics)), grads = jax.value_and_grad(task.loss, has_aux=True)(
            params, carry, task.batches(seed)[step], key)
    """

    name: str
    init: Callable[[Array], Params]  # key -> params
    loss: Loss
    batches: Callable[[int], Batches]  # seed -> training batches
    evaluate: Callable[[Params], dict[str, float]]  # on held-out data
    metric: Metric
    recipe: Recipe
    initial_carry: Callable[[], Carry] = lambda: None  # before the first batch
    baselines: Mapping[str, float] = {}  # values of `metric` of simple baselines, by name
    recurrence: Callable[[Params, Batch], Recurrence] | None = None
    infer: Mapping[str, Callable[..., Any]] = {}  # functions of a trained model, by name
    terms: Callable[[Batch], Array] | None = None  # how many the cost is a mean over; None: equal
    notes: Sequence[str] = ()  # what the task decided by itself, for the record of a run
    # Facts about the data, out of what JSON has: those that a trained model needs, such as a scale
    # or the words that rows of the params stand for. A run stores them, and is tied to them.
    data: Mapping[str, Any] = {}
    digest: Callable[[], str] | None = None  # of all data; None: of the first batches
    # By what the best checkpoint is chosen, such as a score on validation data; None: by `metric`,
    # whose value at the best step then is optimistic: it is the best of several on the same data.
    select: Metric | None = None


class Model(NamedTuple):
    """What is left of a task for inference, without its data."""

    init: Callable[[Array], Params]  # as Task.init
    infer: Mapping[str, Callable[..., Any]]  # as Task.infer


def no_data() -> str:
    """`Task.digest` of a task whose batches are drawn from its options and the seed alone."""
    return ""
