"""Inference: captions by greedy or beam search, and their attention maps."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_positive_int
from rnnjax._types import Array, Params, PyTree
from rnnjax.experiments.data.captions import BEGIN, END, UNKNOWN, Captioned, decode_caption
from rnnjax.experiments.data.text import Vocabulary
from rnnjax.scenarios import Decoder, beam_search, greedy

_AT_ONCE = 125  # pictures


class Described(NamedTuple):
    """A caption with the attention map of each word; None without attention."""

    caption: str
    looked: np.ndarray | None  # [words + 1, h, w] attention weights, the last for the end token


class Describer(NamedTuple):
    captions: Callable[..., list[str]]  # (params, pictures [B, ...], beams) -> B captions
    looked: Callable[..., np.ndarray] | None  # (params, picture, caption) -> [words, p, p]


def describer(
    decoder: Decoder, vocabulary: Vocabulary, longest: int, form: tuple[int, int] | None
) -> Describer:
    """Functions that generate captions of at most `longest` tokens, the end token included.

    `form` is the height and width of the attention map; None for a square one.
    """

    @partial(jax.jit, static_argnames="beams")
    def write(params: Params, pictures: Array, beams: int) -> Array:
        def step(state: PyTree, token: Array) -> tuple[PyTree, Array]:
            state, logits = decoder.step(params, state, token)
            never = jnp.array([UNKNOWN, BEGIN])
            return state, logits.at[:, never].set(-jnp.inf)

        first = jnp.full(len(pictures), BEGIN)
        state = decoder.begin(params, pictures)
        if beams == 1:
            return greedy(step, state, first, longest, end=END).tokens
        return beam_search(step, state, first, longest, end=END, beams=beams).tokens

    def captions(params: Params, pictures: np.ndarray, beams: int = 1) -> list[str]:
        tokens = np.asarray(write(params, pictures, check_positive_int("beams", beams)))
        return [decode_caption(vocabulary, ids) for ids in tokens.T.tolist()]

    if decoder.attention is None:
        return Describer(captions, None)
    attention = jax.jit(decoder.attention)

    def looked(params: Params, picture: np.ndarray, caption: str) -> np.ndarray:
        words = np.append(BEGIN, vocabulary.encode(caption))[:, None]
        weights = np.asarray(attention(params, picture[None], words))[:, 0]
        return weights.reshape(-1, *(form or _square(weights.shape[1])))

    return Describer(captions, looked)


def _square(places: int) -> tuple[int, int]:
    """Height and width of a square map, or 1 and the number of positions if it is not square."""
    side = math.isqrt(places)
    return (side, side) if side**2 == places else (1, places)


def captions_of(describe: Describer, params: Params, data: Captioned, beams: int = 1) -> list[str]:
    """A caption of each picture; batches are padded to one shape."""
    found: list[str] = []
    for begin in range(0, len(data.captions), _AT_ONCE):
        numbers = range(begin, min(begin + _AT_ONCE, len(data.captions)))
        pictures = [data.read(k) for k in numbers]
        filled = np.stack(pictures + [pictures[0]] * (_AT_ONCE - len(pictures)))
        found += describe.captions(params, filled, beams)[: len(pictures)]
    return found


def caption_use(
    describe: Describer, read: Callable[[Any], np.ndarray]
) -> Callable[..., str | Described]:
    """The function `Task.infer["caption"]`; `read` converts its argument to a picture."""

    def caption(
        params: Params, image: str | Path | np.ndarray, *, beams: int = 3, looked: bool = False
    ) -> str | Described:
        """Caption a picture; with `looked`, return a `Described`."""
        picture = read(image)
        found = describe.captions(params, picture[None], beams)[0]
        if not looked:
            return found
        return Described(found, describe.looked and describe.looked(params, picture, found))

    return caption
