"""Scores of captions: BLEU-1 to 4 and exact matches, and the best constant caption as baseline."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnnjax._extras import optional
from rnnjax._types import Params
from rnnjax.experiments.data.captions import Captioned
from rnnjax.experiments.tasks.captions._describe import Describer, captions_of

ORDERS = (1, 2, 3, 4)
References = Sequence[Sequence[str]]  # of each picture
_JUDGED, _CANDIDATES = 500, 20


def bleu(captions: Sequence[str], references: References) -> tuple[float, ...]:
    """Corpus BLEU-1, 2, 3 and 4 of captions against the references of their pictures, in percent.

        BLEU-n = min(1, e^{1 - r/c}) (p_1 … p_n)^{1/n}

    with p_k the clipped k-gram precision, c the length of the captions and r that of the references
    nearest in length, all over the whole corpus; unsmoothed.

    Args:
      captions: normalised, words separated by spaces.
      references: of each picture, one or more.

    Raises:
      ImportError: sacrebleu is not installed.

    Example:
      >>> found = bleu(["a dog runs on grass"], [["a dog runs on the grass", "a brown dog"]])
      >>> [round(x, 1) for x in found]
      [81.9, 70.9, 65.0, 57.9]

    References:
      Papineni, Roukos, Ward & Zhu (2002), BLEU: a method for automatic evaluation of machine
      translation, ACL.
      Post (2018), A call for clarity in reporting BLEU scores, WMT (sacrebleu).
    """
    return _of_stats(_scorer(references).corpus_score(list(captions), None))


def _scorer(references: References) -> Any:
    most = max(len(each) for each in references)
    streams = [[each[k] if k < len(each) else None for each in references] for k in range(most)]
    metric = optional("sacrebleu.metrics").BLEU
    return metric(tokenize="none", smooth_method="none", force=True, references=streams)


def _of_stats(found: Any) -> tuple[float, ...]:
    compute = optional("sacrebleu.metrics").BLEU.compute_bleu
    return tuple(
        compute(
            found.counts[:n], found.totals[:n], found.sys_len, found.ref_len, max_ngram_order=n
        ).score
        for n in ORDERS
    )


def best_constant(references: References) -> str:
    """Baseline: the reference caption with the best BLEU-4 if used for every picture.

    Twenty candidates are chosen by an estimate from n-gram counts, and then scored, on at most 500
    pictures, evenly spaced.

    Args:
      references: normalised captions of the training pictures.
    """
    step = max(1, len(references) // _JUDGED)
    judged = references[::step][:_JUDGED]
    shares = Counter(gram for each in judged for gram in set().union(*map(_grams, each)))
    usual = sum(len(text.split()) for each in judged for text in each) / sum(map(len, judged))

    def estimate(text: str) -> float:
        total = min(0.0, 1 - usual / max(1, len(text.split())))
        for n in ORDERS:
            counts = [shares[gram] for gram in _grams(text) if len(gram) == n]
            total += math.log(sum(counts) / len(counts) + 1e-9) / len(ORDERS) if counts else -20
        return total

    captions = sorted({text for each in judged for text in each})
    candidates = sorted(captions, key=estimate, reverse=True)[:_CANDIDATES]
    scorer = _scorer(judged)
    return max(candidates, key=lambda text: scorer.corpus_score([text] * len(judged), None).score)


def _grams(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[k : k + n]) for n in ORDERS for k in range(len(words) + 1 - n)}


def evaluation(
    describe: Describer, tests: Mapping[str, Captioned], beams: int
) -> Callable[[Params], dict[str, float]]:
    """`params -> scores`: exact matches and BLEU of each test set, and shuffled, of the first.

    Shuffled captions are those generated for other pictures: they show how much of BLEU comes from
    the language alone.
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
    """All scores by name: the share of exact matches, and BLEU in percent."""
    scores = dict(
        zip((f"{prefix}bleu_{n}" for n in ORDERS), bleu(captions, references), strict=True)
    )
    return {f"{prefix}exact": exact(captions, references), **scores}


def exact(captions: Sequence[str], references: References) -> float:
    """The share of captions that equal one of their references."""
    return float(np.mean([c in r for c, r in zip(captions, references, strict=True)]))


def shuffled(captions: Sequence[str]) -> list[str]:
    """Each caption assigned to another picture, half the set away."""
    half = max(1, len(captions) // 2)
    return [*captions[half:], *captions[:half]]
