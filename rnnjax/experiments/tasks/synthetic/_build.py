"""A task from a generator of random sequences."""

from collections.abc import Callable, Mapping

import jax

from rnnjax._names import option
from rnnjax._types import Array, Cell, Params, PyTree
from rnnjax.experiments._memory import check_fits
from rnnjax.experiments.tasks._net import Net, dense_net
from rnnjax.experiments.tasks._sequences import Draw, Objective, drawn, promoting, valid_terms
from rnnjax.experiments.tasks._task import Metric, Recipe, Task, no_data

TEST_SEED = 271_828_182  # test data have their own key


def build(
    name: str,
    cell: Cell,
    draw: Draw,
    objective: Objective,
    *,
    outputs: int,
    tests: Mapping[str, Draw],
    metric: Metric,
    recipe: Recipe,
    baselines: Mapping[str, float],
    clip_in_loop: float | None,
    judged: Objective | None = None,
) -> Task:
    """Build a `Task`: a cell with a dense head on its output at every step, or at the last.

    Args:
      name: of the task.
      cell: the recurrent part.
      draw: key -> a batch. If targets are `[T, B, ...]`, every step has an output.
      objective: the loss, and further scores.
      outputs: K, the size of the head.
      tests: suffix of the names of the scores -> generator of test data.
      metric, recipe, baselines: as in `Task`.
      clip_in_loop: as in `dense_net`.
      judged: the objective on test data, if different.
    """
    form = jax.eval_shape(promoting(draw), jax.random.key(0))
    for one in tests.values():
        check_test_set(jax.eval_shape(promoting(one), jax.random.key(0)))
    net = dense_net(cell, outputs, objective, form, clip_in_loop)
    return Task(
        name,
        net.init,
        net.loss,
        drawn(draw),
        _evaluation(
            net, judged or objective, {name: promoting(one) for name, one in tests.items()}
        ),
        metric,
        recipe,
        baselines=baselines,
        recurrence=net.recurrence,
        terms=valid_terms,
        digest=no_data,
    )


def check_test_set(shapes: PyTree) -> None:
    """Raise ValueError if the test sequences alone do not fit into memory."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    check_fits(f"{option('test_size')}: the test sequences", size)


def _evaluation(
    net: Net, objective: Objective, tests: Mapping[str, Draw]
) -> Callable[[Params], dict[str, float]]:
    def scored(draw: Draw) -> Callable[[Params, Array], dict[str, Array]]:
        @jax.jit
        def score(params: Params, key: Array) -> dict[str, Array]:
            batch = draw(key)
            found = net.outputs(params, batch)
            return {"loss": objective.cost(found, batch), **objective.scores(found, batch)}

        return score

    scores = {suffix: scored(draw) for suffix, draw in tests.items()}

    def evaluate(params: Params) -> dict[str, float]:
        keys = jax.random.split(jax.random.key(TEST_SEED), len(scores))
        return {
            name + suffix: float(value)
            for key, (suffix, score) in zip(keys, scores.items(), strict=True)
            for name, value in score(params, key).items()
        }

    return evaluate
