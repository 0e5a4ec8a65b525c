"""Sampling text that continues a prompt."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import check_positive_int
from rnnjax._names import option
from rnnjax._types import Array, Carry, Params
from rnnjax.experiments.data._text_files import check_unicode
from rnnjax.experiments.data.text import END, Vocabulary, encode_text
from rnnjax.experiments.tasks._notes import shortened
from rnnjax.experiments.tasks.text._language_model import LanguageModel, initial_carry
from rnnjax.scenarios import sample


def generation(model: LanguageModel, vocabulary: Vocabulary) -> Callable[..., str]:
    """A function `(params, prompt, length, *, key, temperature, top_k, top_p) -> text`."""

    one_step = cast(Callable[..., tuple[Carry, Array]], model.net.step)

    @partial(jax.jit, static_argnames=("steps", "top_k"))
    def write(
        params: Params, carry: Carry, first: Array, key: Array, *, steps: int, **options: Any
    ) -> Array:
        def step(carry: Carry, token: Array) -> tuple[Carry, Array]:
            carry, scores = one_step(params, carry, token)
            return carry, scores.at[:, 0].set(-jnp.inf)  # never <unk>

        return sample(step, carry, first, steps, key, **options).tokens[:, 0]

    def generate(
        params: Params,
        prompt: str,
        length: int,
        *,
        key: Array,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> str:
        """The prompt, followed by `length` sampled characters or words."""
        steps = check_positive_int("length", length)
        if not temperature > 0:
            raise ValueError(
                f"{option('temperature')} must be above 0, got {temperature}: "
                f"{option('top_k', 1)} always takes the most likely symbol"
            )
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"{option('top_p')} is a probability in (0, 1], got {top_p}")
        check_unicode(prompt, option("prompt"))
        ids = _encode_prompt(vocabulary, prompt)
        if unknown := _unknown(vocabulary, prompt):
            warnings.warn(unknown, stacklevel=2)
        carry = initial_carry(model, params, 1)
        if len(ids) > 1:
            carry, _ = model.net.apply(params, ids[:-1, None], carry=carry)
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        tokens = write(params, carry, ids[-1:], key, steps=steps, **options)
        written = vocabulary.decode(np.asarray(tokens))
        if vocabulary.units == "characters":
            return prompt + written
        return f"{prompt} {written}".strip().replace(f" {END} ", "\n").replace(END, "\n")

    return generate


def _encode_prompt(vocabulary: Vocabulary, prompt: str) -> np.ndarray:
    """The token ids of a prompt; an empty one becomes a newline."""
    if prompt and len(ids := encode_text(prompt, vocabulary)):
        return ids
    newline = "\n" if vocabulary.units == "characters" else END
    return np.array([vocabulary.entries.index(newline) if newline in vocabulary.entries else 1])


def _unknown(vocabulary: Vocabulary, prompt: str) -> str:
    """A sentence on what of a prompt the vocabulary does not hold; empty if it holds all."""
    token = vocabulary.entries[0]
    parts = dict.fromkeys(vocabulary.split(prompt))
    unknown = [repr(part) for part in parts if not vocabulary.number(part) and part != token]
    if not unknown:
        return ""
    kind = "characters" if vocabulary.units == "characters" else "words"
    return (
        f"{option('prompt')} has {kind} that are not in the model's vocabulary: "
        f"{shortened(unknown)}; it reads {token} in the place of each"
    )
