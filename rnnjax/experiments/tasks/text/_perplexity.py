"""How well a language model predicts a text that it has not seen."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from rnnjax._types import Array, Carry, Params
from rnnjax.experiments.tasks.text._corpus import Corpus
from rnnjax.experiments.tasks.text._language_model import LanguageModel, initial_carry
from rnnjax.experiments.tasks.text._streams import HeldOutWindow, held_out_windows

_STREAMS, _STEPS, _CONTEXT = 32, 256, 128  # of the held-out text
_SHORTEST = 128  # tokens of a stream: a short text has fewer streams


def evaluation(model: LanguageModel, corpus: Corpus) -> Callable[[Params], dict[str, float]]:
    """A function from params to what the held-out text costs, each token of it scored once."""
    tokens = len(corpus.held_out)
    count = max(1, min(_STREAMS, tokens // _SHORTEST))

    @jax.jit
    def score(params: Params, carry: Carry, window: HeldOutWindow) -> tuple[Carry, Array]:
        carry, scores = model.net.apply(params, window.tokens, carry=carry)
        nats = optax.softmax_cross_entropy_with_integer_labels(scores, window.targets)
        return carry, jnp.sum(jnp.where(window.valid, nats, 0))

    def evaluate(params: Params) -> dict[str, float]:
        carry, total = initial_carry(model, params, count), 0.0
        for window in held_out_windows(corpus.train, corpus.held_out, count, _STEPS, _CONTEXT):
            carry, nats = score(params, carry, window)
            total += float(nats)
        return {
            "nats": total / tokens,
            "perplexity": math.exp(min(total / tokens, 700.0)),
            "nats_per_character": total / corpus.characters,
            "bits_per_character": total / corpus.characters / math.log(2),
        }

    return evaluate
