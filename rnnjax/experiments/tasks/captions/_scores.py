"""How good captions are, and how good they would be without looking at the picture."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rnnjax._types import Params
from rnnjax.experiments.tasks.captions._bleu import ORDERS, References, bleu
from rnnjax.experiments.tasks.captions._captioned import Captioned
from rnnjax.experiments.tasks.captions._describe import Describer, captions_of


def evaluation(
    describe: Describer, tests: Mapping[str, Captioned], beams: int
) -> Callable[[Params], dict[str, float]]:
    """`params -> scores`: exact matches and BLEU of each set; shuffled, too, of the first.

    Shuffled captions are those that the net writes of other pictures of the set: what of BLEU
    comes from knowing how captions sound.
    """

    def evaluate(params: Params) -> dict[str, float]:
        scores: dict[str, float] = {}
        for part, data in tests.items():
            prefix = "" if part == "pictures" else f"{part}_"
            found = captions_of(describe, params, data, beams)
            scores |= named(prefix, found, data.captions)
            if part == "pictures":
                scores |= named("shuffled_", shuffled(found), data.captions)
        return scores

    return evaluate


def named(prefix: str, captions: Sequence[str], references: References) -> dict[str, float]:
    """All scores by name: the share that is exact, and BLEU in percent."""
    scores = dict(
        zip((f"{prefix}bleu_{n}" for n in ORDERS), bleu(captions, references), strict=True)
    )
    return {f"{prefix}exact": exact(captions, references), **scores}


def exact(captions: Sequence[str], references: References) -> float:
    """The share of captions that equal one of their references."""
    return float(np.mean([c in r for c, r in zip(captions, references, strict=True)]))


def shuffled(captions: Sequence[str]) -> list[str]:
    """Each caption moved to another picture: half the set away."""
    half = max(1, len(captions) // 2)
    return [*captions[half:], *captions[:half]]
