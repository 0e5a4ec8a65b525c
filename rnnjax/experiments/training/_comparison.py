"""Train one cell among others on the digits, and measure its gradient flow before and after."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._types import Array, Carry, Cell, Gradient
from rnnjax.cells._activations import ActivationName
from rnnjax.experiments.data import Digits
from rnnjax.experiments.tasks import CELLS, CellFactory, Metric
from rnnjax.experiments.training._classifier import (
    Classifier,
    ClassifierParams,
    classifier,
    cross_entropy,
)
from rnnjax.experiments.training._flow import FlowMeasures, measure_flow
from rnnjax.experiments.training._step import TrainState, start_training, train_step
from rnnjax.flow import pascanu_bound
from rnnjax.gradients import autodiff, bptt

CHUNK = 50  # steps in one compiled loop, between two looks at the test images
CLASSES = 10

Progress = Callable[[int], None]  # called with the number of steps just finished


class Contender(NamedTuple):
    make: CellFactory
    activation: ActivationName | None = None  # of a vanilla cell, for Pascanu's bound
    learning_rate: float = 1e-2  # at its peak: 5 % warm-up, then a cosine to zero
    start: str = "orthogonal"  # recurrent weights before training, in words


CONTENDERS: dict[str, Contender] = {
    "vanilla": Contender(CELLS["vanilla"], "tanh", start="uniform on ±1/√H"),
    # At the others' rate all of its ReLU units die (accuracy 10 %, no gradient, on three seeds).
    "irnn": Contender(CELLS["irnn"], "relu", learning_rate=1e-3, start="identity"),
    "identity": Contender(CELLS["identity"], start="identity, fixed"),
    "lstm_1997": Contender(CELLS["lstm_1997"]),
    "lstm": Contender(CELLS["lstm"]),
    "gru": Contender(CELLS["gru"]),
}

GRADIENTS: dict[str, Callable[[], Gradient]] = {"bptt": bptt, "autodiff": autodiff}


class ComparisonSettings(NamedTuple):
    hidden: int = 64
    steps: int = 1500
    batch_size: int = 64
    clip: float = 1.0  # global norm of the gradient
    seeds: int = 1
    seed: int = 0
    flow_examples: int = 32  # test images that gradient flow is measured on
    gradient: str = "bptt"  # a key of GRADIENTS


class CellResult(NamedTuple):
    scores: np.ndarray  # [seeds] the metric on what is held out: accuracy is in [0, 1]
    cost: np.ndarray  # [seeds, steps/cost_every] training cost
    curve_steps: np.ndarray  # [chunks] steps taken when the metric was measured
    curve: np.ndarray  # [seeds, chunks] the metric
    before: FlowMeasures  # of the first seed
    after: FlowMeasures
    bounds: tuple[float, float] | None  # σ_max(W_h) γ before and after; vanilla cells only
    milliseconds: float  # a training step of all seeds together, median over chunks
    metric: Metric = Metric("accuracy", "max")
    cost_every: int = 1  # steps that each entry of cost is the mean of


def train_and_measure(
    name: str, data: Digits, settings: ComparisonSettings, progress: Progress = lambda steps: None
) -> CellResult:
    """Train the contender `name` and measure its gradient flow before and after.

    Seeds are vmapped. The n-th seed draws the same data order for every cell.

    Args:
      name: a key of `CONTENDERS`.
      data: the images.
      settings: sizes, steps and optimiser.
      progress: called after every chunk of steps.
    """
    contender = CONTENDERS[name]
    cell = contender.make(settings.hidden)
    net = classifier(cell, CLASSES, GRADIENTS[settings.gradient]())
    optimizer = optax.chain(
        optax.clip_by_global_norm(settings.clip),
        optax.adam(_schedule(contender.learning_rate, settings.steps)),
    )
    seeds = jnp.arange(settings.seed, settings.seed + settings.seeds)
    params = jax.vmap(lambda seed: net.init(jax.random.key(seed), 1))(seeds)
    state = jax.vmap(partial(start_training, optimizer=optimizer))(params)
    order = np.stack([_data_order(int(seed), data, settings) for seed in seeds], axis=1)

    measure = partial(_measure, cell, net, data, settings)
    before = measure(state.params)
    fit = _fit(net, optimizer, data)
    accuracy = jax.jit(jax.vmap(partial(_accuracy, net, data)))
    costs, curve, times = [], [], []
    for begin in range(0, settings.steps, CHUNK):
        chunk = order[begin : begin + CHUNK]
        fit_chunk = fit.lower(state, chunk).compile()  # ahead of the clock; a look-up later
        started = time.perf_counter()
        state, cost = jax.block_until_ready(fit_chunk(state, chunk))
        times.append((time.perf_counter() - started) / len(chunk))
        costs.append(np.asarray(cost))
        curve.append(np.asarray(accuracy(state.params)))
        progress(len(chunk))
    ends = np.minimum(np.arange(CHUNK, settings.steps + CHUNK, CHUNK), settings.steps)
    return CellResult(
        curve[-1],
        np.concatenate(costs).T,
        ends,
        np.stack(curve, axis=1),
        before,
        measure(state.params),
        _bounds(contender, params, state.params),
        1e3 * float(np.median(times)),
    )


def _schedule(peak: float, steps: int) -> optax.Schedule:
    warm_up = max(1, steps // 20)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warm_up, max(steps, warm_up + 1))


def _data_order(seed: int, data: Digits, settings: ComparisonSettings) -> np.ndarray:
    """Rows of the training images for every step, [steps, batch]: shuffled epochs."""
    rng = np.random.default_rng(seed)
    size = min(settings.batch_size, data.train_labels.size)
    whole = data.train_labels.size // size
    epochs = -(-settings.steps // whole)
    rows = [rng.permutation(data.train_labels.size)[: whole * size] for _ in range(epochs)]
    return np.concatenate(rows).reshape(-1, size)[: settings.steps]


def _fit(
    net: Classifier, optimizer: optax.GradientTransformation, data: Digits
) -> jax.stages.Wrapped:
    """`(states, rows [steps, seeds, batch]) -> (states, cost [steps, seeds])`."""
    xs, labels = jnp.asarray(data.train_xs), jnp.asarray(data.train_labels)

    def loss(
        params: ClassifierParams, carry: Carry, rows: Array, key: Array | None
    ) -> tuple[Array, tuple[Carry, dict[str, Array]]]:
        cost = jnp.mean(cross_entropy(net.logits(params, xs[:, rows]), labels[rows]))
        return cost, (carry, {})

    step = jax.vmap(train_step(loss, optimizer))

    def fit(states: TrainState, rows: Array) -> tuple[TrainState, Array]:
        def body(states: TrainState, rows: Array) -> tuple[TrainState, Array]:
            states, metrics = step(states, rows)
            return states, metrics.cost

        return jax.lax.scan(body, states, rows)

    return jax.jit(fit)


def _accuracy(net: Classifier, data: Digits, params: ClassifierParams) -> Array:
    predicted = jnp.argmax(net.logits(params, jnp.asarray(data.test_xs)), axis=-1)
    return jnp.mean(predicted == data.test_labels)


def _measure(
    cell: Cell,
    net: Classifier,
    data: Digits,
    settings: ComparisonSettings,
    params: ClassifierParams,
) -> FlowMeasures:
    first = jax.tree.map(lambda leaf: leaf[0], params)
    xs = jnp.asarray(data.test_xs[:, : settings.flow_examples])
    labels = jnp.asarray(data.test_labels[: settings.flow_examples])
    return measure_flow(cell, net, first, xs, labels)


def _bounds(
    contender: Contender, before: ClassifierParams, after: ClassifierParams
) -> tuple[float, float] | None:
    if contender.activation is None:
        return None
    start, end = (
        pascanu_bound(params.cell.w_h[0], contender.activation).product
        for params in (before, after)
    )
    return start, end
