"""The registries of cells and combinators, left as they were."""

import contextlib
from collections.abc import Iterator
from typing import Any

from rnnjax.cells import FACTORIES
from rnnjax.combinators import COMBINATORS


@contextlib.contextmanager
def registries_kept() -> Iterator[None]:
    """Forget what is registered inside."""
    registries: list[dict[str, Any]] = [FACTORIES, COMBINATORS]
    before = [dict(registry) for registry in registries]
    try:
        yield
    finally:
        for registry, kept in zip(registries, before, strict=True):
            registry.clear()
            registry.update(kept)
