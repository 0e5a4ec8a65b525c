"""What a task is: data, model, loss and metric in one value, which any training loop can run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from rnnjax._types import Array, Carry, Cell, Params, PyTree

Batch = PyTree  # a NamedTuple of arrays, time first


class Batches(Protocol):
    """Training batches in an order that a seed fixes, each to be had by its step.

    `batches[step]` is always the same batch, so that a resumed run needs the step alone. A
    `grain.MapDataset` is one; so is a function of the step that draws a batch from a key.
    """

    def __getitem__(self, step: int, /) -> Batch: ...


class Loss(Protocol):
    """`(params, carry, batch, key) -> (cost, (carry, metrics))`, pure.

    The cost is a scalar, a mean over what the batch holds; `metrics` are further scalars by name.
    `carry` is the state that one batch hands to the next (stateful truncated BPTT; the gradient
    stops there), None for every other task. A `key` turns dropout on; without one the net runs in
    its evaluation form.
    """

    def __call__(
        self, params: Params, carry: Carry, batch: Batch, key: Array | None, /
    ) -> tuple[Array, tuple[Carry, dict[str, Array]]]: ...


class Metric(NamedTuple):
    """The figure that a task is judged by: a key of what `Task.evaluate` returns."""

    name: str
    goal: Literal["max", "min"]
    unit: str = ""


class Recipe(NamedTuple):
    """How a task is trained where nothing else is asked for."""

    steps: int
    learning_rate: float = 1e-3  # at its peak
    schedule: Literal["cosine", "constant"] = "cosine"  # after the warm-up, down to zero or flat
    warmup: float = 0.05  # share of the steps in which the rate rises from zero
    optimizer: str = "adamw"  # a name in optax
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0  # of the summed gradient, over all leaves together
    average: float = 0.0  # decay of the running average of params that is evaluated; 0: none
    evaluate_every: int = 200  # steps


class Recurrence(NamedTuple):
    """The recurrent part of a model on one batch, as the tools of `rnnjax.flow` take it."""

    cell: Cell
    params: Params
    xs: PyTree  # [T, B, D]
    cost: Callable[[Carry, PyTree], Array]  # (last carry, ys) -> C, summed over the examples
    lengths: Array | None = None


class Task(NamedTuple):
    """A problem for a recurrent net, ready to be trained on.

    Made by a factory such as `tasks.parity(hidden=32)`; `training.fit(task, ...)` trains it, and so
    does any loop of your own:

        params, carry = task.init(key), task.initial_carry()
        (cost, (carry, metrics)), grads = jax.value_and_grad(task.loss, has_aux=True)(
            params, carry, task.batches(seed)[step], key)
    """

    name: str
    init: Callable[[Array], Params]  # key -> params
    loss: Loss
    batches: Callable[[int], Batches]  # seed -> training batches
    evaluate: Callable[[Params], dict[str, float]]  # on data held out from training
    metric: Metric
    recipe: Recipe
    initial_carry: Callable[[], Carry] = lambda: None  # before the first batch
    baselines: Mapping[str, float] = {}  # what `metric` is without a recurrent net, by name
    recurrence: Callable[[Params, Batch], Recurrence] | None = None
    infer: Mapping[str, Callable[..., Any]] = {}  # what the trained net is used for, by name
    names: Sequence[str] = ()  # words, characters or classes in the data, in their params' order
