"""Batches: those of one step stacked, drawn ahead of time in a thread, or cached."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._arguments import checked_arguments
from rnnjax._names import option
from rnnjax.experiments.tasks import Batch, Batches, Task
from rnnjax.experiments.training._settings import ResolvedSettings
from rnnjax.experiments.training._task_checks import check_batches

_AHEAD = 4  # batches in the queue at most
_CACHE_BYTES = 2**28
# Context managers of JAX, each of one thread alone, that decide what arrays become.
_CONTEXTS = (
    "enable_x64",
    "default_device",
    "default_matmul_precision",
    "default_prng_impl",
    "threefry_partitionable",
    "numpy_dtype_promotion",
    "numpy_rank_promotion",
)


def batch_source(task: Task, settings: ResolvedSettings) -> Callable[[int], Batch]:
    """A function `step -> batch`, in the form that `train_step` takes.

    Several accumulated batches are stacked along a leading axis; several seeds are stacked along
    another axis before it. The batches of a seed are those of a run with that seed alone, except
    that sequences are zero-padded to the longest of the step, if the batches have lengths.
    """
    count = settings.accumulate
    streams = [
        check_batches(task.batches(seed), seed, (settings.steps or 0) * count)
        for seed in range(settings.seed, settings.seed + settings.seeds)
    ]

    def draw(step: int) -> Batch:
        parts = [
            [stream[step * count + n] for n in range(count)] if count > 1 else [stream[step]]
            for stream in streams
        ]
        each = [_stacked(part) if count > 1 else part[0] for part in parts]
        return _stacked(each) if len(each) > 1 else each[0]

    return draw


def _stacked(batches: list[Batch]) -> Batch:
    lengths: list[Any] = [getattr(batch, "lengths", None) for batch in batches]
    # Padding is recognized by the lengths; without them, padded steps and examples would count.
    may_pad = lengths[0] is not None and len({np.shape(each) for each in lengths}) == 1
    try:
        return jax.tree.map(_stack_padded if may_pad else _stack, *batches)
    except ValueError:
        raise ValueError(
            f"{option('accumulate')} and {option('seeds')} above 1 need batches of one "
            f"{_differences(batches, lengths)}; or set both to 1"
        ) from None


def _differences(batches: list[Batch], lengths: list[Any]) -> str:
    """In what batches differ, and what to do: the rest of a sentence."""
    sizes = dict.fromkeys(np.size(each) for each in lengths if each is not None)
    if len(sizes) > 1:
        return (
            f"size, got {' and '.join(map(str, sizes))} examples: leave out the smaller last batch "
            "of an epoch, as bucketed_batches(..., drop_remainder=True) does"
        )
    shapes = dict.fromkeys(str(jax.tree.map(np.shape, batch)) for batch in batches)
    return (
        f"shape, got {' and '.join(shapes)}: pad to one length, or give the batches a field "
        "lengths [B] that the loss respects"
    )


def _stack_padded(*leaves: Any) -> Any:
    """Stack arrays, each zero-padded at the end of its axes to the largest size."""
    shapes = [np.shape(leaf) for leaf in leaves]
    if len(set(shapes)) == 1 or len(set(map(len, shapes))) > 1:
        return _stack(*leaves)
    largest = np.max(shapes, axis=0)
    return _stack(
        *(_padded(leaf, largest - shape) for leaf, shape in zip(leaves, shapes, strict=True))
    )


def _padded(leaf: Any, missing: np.ndarray) -> Any:
    pad = jnp.pad if isinstance(leaf, jax.Array) else np.pad
    return pad(leaf, [(0, int(count)) for count in missing])


def _stack(*leaves: Any) -> Any:
    if any(isinstance(leaf, jax.Array) for leaf in leaves):
        return jnp.stack(leaves)
    return np.stack(leaves)


@checked_arguments
def cached_batches(batches: Callable[[int], Batches]) -> Callable[[int], Batches]:
    """Cache the batches of a task in memory, for several runs on the same data.

    The first 256 MiB of batches are cached; those drawn after that are drawn again each time.

    Args:
      batches: `Task.batches`.

    Returns:
      A function `seed -> Batches` like it.
    """
    kept: dict[tuple[int, int], Batch] = {}
    left = _CACHE_BYTES

    class Cached:
        def __init__(self, seed: int) -> None:
            self._seed, self._drawn = seed, batches(seed)

        def __getitem__(self, step: int, /) -> Batch:
            nonlocal left
            found = kept.get((self._seed, step))
            if found is None:
                found = self._drawn[step]
                left -= sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(found))
                if left >= 0:
                    kept[self._seed, step] = found
            return found

    return Cached


@contextmanager
def prefetched(draw: Callable[[int], Batch], steps: range) -> Iterator[Iterator[Batch]]:
    """Yield an iterator over `draw(step)`, on the device, for the steps of a range in order.

    Batches that consist of JAX arrays are drawn where they are taken, as JAX dispatches
    asynchronously; others are drawn ahead in a thread. An exception in `draw` is raised where the
    batch is taken.
    """
    if not steps:
        yield iter(())
        return
    first, rest = draw(steps[0]), steps[1:]
    if all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(first)):
        yield chain([first], map(draw, rest))
        return
    with _threaded(draw, rest) as batches:
        yield chain([jax.device_put(first)], batches)


@contextmanager
def _threaded(draw: Callable[[int], Batch], steps: range) -> Iterator[Iterator[Batch]]:
    ready: queue.Queue[tuple[Batch, BaseException | None]] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: tuple[Batch, BaseException | None]) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                pass

    def work() -> None:
        try:
            with _entered(options):
                for step in steps:
                    if stop.is_set():
                        return
                    put((jax.device_put(draw(step)), None))
        except BaseException as error:
            put((None, error))

    def taken() -> Iterator[Batch]:
        for _ in steps:
            batch, error = ready.get()
            if error is not None:
                raise error
            yield batch

    options = _options()
    context = copy_context()  # of the flags that errors name
    thread = threading.Thread(target=context.run, args=(work,), name="rnnjax-batches", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stop.set()
        thread.join()


def _options() -> dict[str, Any]:
    """What JAX's contexts are set to in this thread."""
    return {name: getattr(jax.config, f"jax_{name}") for name in _CONTEXTS}


@contextmanager
def _entered(options: dict[str, Any]) -> Iterator[None]:
    """Enter those contexts of JAX that are set to something else in this thread."""
    with ExitStack() as stack:
        for name, value in options.items():
            if getattr(jax.config, f"jax_{name}") != value:
                stack.enter_context(getattr(jax, name)(value))
        yield
