"""Witten-Bell n-gram models: a baseline for language models."""

import numpy as np

_CODES = 1 << 63  # codes of n-grams must be below


def witten_bell(
    train: np.ndarray, held_out: np.ndarray, vocabulary: int, longest: int
) -> list[float]:
    """Cross-entropy of interpolated n-gram models with contexts of 0 … `longest` tokens.

        p_k(w | c) = (n(c, w) + d(c) p_{k-1}(w | c')) / (n(c) + d(c)),   p_{-1} = 1 / V

    n are counts in the training text, d(c) is the number of distinct tokens that follow the
    context c, and c' is c without its first token.

    Args:
      train: `[n]` token ids of the training text.
      held_out: `[m]` token ids to score; the first has the end of train as its context.
      vocabulary: V, its size.
      longest: the longest context; V^(longest + 1) must be below 2⁶³.

    Returns:
      Nats per token, the mean of -ln p over held_out, for each context length.

    References:
      Witten & Bell (1991), The zero-frequency problem: estimating the probabilities of novel
      events in adaptive text compression, IEEE Transactions on Information Theory 37.
    """
    if longest_context(vocabulary, longest) < longest:
        raise ValueError(f"contexts of {longest} tokens are too long for {vocabulary} words")
    longest = min(longest, len(train) - 1)
    text = np.concatenate([train[len(train) - longest :], held_out]).astype(np.int64)
    train = train.astype(np.int64)
    p = np.full(len(held_out), 1 / vocabulary)
    nats: list[float] = []
    for k in range(longest + 1):
        joint = _codes(train, k, vocabulary)
        test = _codes(text[longest - k :], k, vocabulary)
        seen, counts = np.unique(joint, return_counts=True)
        contexts, totals = np.unique(joint // vocabulary, return_counts=True)
        distinct = np.unique(seen // vocabulary, return_counts=True)[1]
        n = _look_up(contexts, totals, test // vocabulary)
        d = _look_up(contexts, distinct, test // vocabulary)
        p = np.where(n > 0, (_look_up(seen, counts, test) + d * p) / np.maximum(n + d, 1), p)
        nats.append(float(-np.log(p).mean()))
    return nats


def longest_context(vocabulary: int, wanted: int) -> int:
    """The longest context, up to `wanted` tokens, whose n-grams have 63-bit codes."""
    while wanted > 0 and vocabulary ** (wanted + 1) >= _CODES:
        wanted -= 1
    return wanted


def _codes(ids: np.ndarray, k: int, vocabulary: int) -> np.ndarray:
    """An integer code for each (k + 1)-gram; its last token is the code modulo V."""
    size = len(ids) - k
    code = np.zeros(size, np.int64)
    for at in range(k + 1):
        code = code * vocabulary + ids[at : at + size]
    return code


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values at sorted keys; 0 for missing keys."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
