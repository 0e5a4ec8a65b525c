"""Language: what comes next, character by character or word by word?"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import optax

from rnnjax._checks import check_positive_int, check_rate
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments.data.text import (
    Corpus,
    HeldOutWindow,
    StreamBatch,
    held_out_windows,
    longest_context,
    open_corpus,
    streams,
    witten_bell,
)
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_cell
from rnnjax.experiments.tasks._task import Metric, Recipe, Recurrence, Task
from rnnjax.experiments.tasks.text._generate import generation
from rnnjax.experiments.tasks.text._language_model import (
    LanguageModel,
    initial_carry,
    language_model,
)
from rnnjax.scenarios import cross_entropy

_CHARACTERS = Metric("nats_per_character", "min", "nats")
_WORDS = Metric("perplexity", "min")
_STREAMS, _STEPS, _CONTEXT = 32, 256, 128  # of the held-out text
_SHORTEST = 128  # tokens of a stream: a short text has fewer streams
_COUNTED = 20_000_000  # tokens: n-grams of longer texts would not fit in memory


def language(
    *,
    text: Annotated[
        Path | None,
        "A text file, or a folder of train, valid and test files such as ptb.train.txt.",
    ] = None,
    units: Annotated[
        str, "characters; words, punctuation apart; or spaces: what stands between spaces."
    ] = "characters",
    held_out: Annotated[float, "Share of a single file, from its end, to judge by."] = 0.1,
    part: Annotated[str, "File of a folder to judge by: valid or test."] = "valid",
    encoding: Annotated[str, "Of the files."] = "utf-8",
    lowercase: Annotated[bool, "Read capitals as small letters."] = False,
    max_words: Annotated[int | None, "Size of the vocabulary at most."] = None,
    cell: CellOption = "gru",
    hidden: Hidden = 512,
    layers: Layers = 1,
    embedding: Annotated[int, "Features of a character or word."] = 64,
    tied: Annotated[bool, "Share the embedding with the output."] = False,
    dropout_rate: Annotated[float, "Of what the output layer reads."] = 0.3,
    embedding_dropout: Annotated[float, "Of the features of characters or words."] = 0.0,
    unroll_steps: Annotated[int, "Steps over which the error is sent back."] = 64,
    batch_size: BatchSize = 32,
) -> Task:
    """Predict each character, or word, of a text from all before it.

        h_t = cell(h_{t-1}, E[w_t]);   p(w_{t+1} | w_1 … w_t) = softmax(W h_t + b)

    Trained by stateful truncated BPTT: the text is cut into `batch_size` streams that run side by
    side; each batch of `unroll_steps` steps begins in the state in which the one before ended,
    and the error stops there.

    Metric: nats a character for characters, perplexity a word for words. `evaluate` gives `nats`
    and `perplexity` a token, and `nats_per_character` and `bits_per_character`, for which what
    words cost is divided by the characters of the held-out text. The state runs through the
    whole of it, in a few streams that each read the 128 tokens before them first.

    The baselines are n-gram models (Witten-Bell) counted on the same training text. For use,
    `infer["generate"](params, prompt, length, *, key, temperature=1.0, top_k=None, top_p=None)`
    writes on after a prompt.

    Args:
      text: the data; must be given.
      units, held_out, part, encoding, lowercase, max_words: how they are read.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units of every layer.
      layers: how many.
      embedding: features of a token.
      tied: whether the output layer shares the embedding.
      dropout_rate, embedding_dropout: in training.
      unroll_steps: T of a batch.
      batch_size: streams.

    Returns:
      A `Task`.

    Raises:
      FileNotFoundError: no such file or folder, or a part is missing.
      ImportError: tokenizers or grain is not installed.
      ValueError: no text given, an unknown name, a text that is empty, too short, or not in the
        encoding.

    Example:
      >>> import pathlib, tempfile
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "sea.txt"
      >>> _ = file.write_text("the sea, the sea. " * 20)
      >>> task = language(text=file, hidden=8, unroll_steps=10, batch_size=4)
      >>> task.batches(0)[0].tokens.shape
      (10, 4)

    References:
      Mikolov et al. (2010), Recurrent neural network based language model, Interspeech.
      Sutskever, Martens & Hinton (2011), Generating text with recurrent neural networks, ICML.
    """
    if text is None:
        raise ValueError("text must be given: a text file, or a folder such as that of the PTB")
    check_rate("dropout_rate", dropout_rate)
    check_rate("embedding_dropout", embedding_dropout)
    corpus = open_corpus(
        text,
        units=units,
        held_out=held_out,
        part=part,
        encoding=encoding,
        lowercase=lowercase,
        max_words=max_words,
    )
    unit = make_cell(cell, hidden, layers)
    model = language_model(
        unit,
        len(corpus.vocabulary),
        check_positive_int("embedding", embedding),
        tied=tied,
        dropout_rate=dropout_rate,
        embedding_dropout=embedding_dropout,
    )
    name = f"the training text of {text}"
    batches = partial(streams, corpus.train, batch_size, unroll_steps, name=name)
    batches(0)  # a text too short for a batch is an error now, not later
    in_characters = units == "characters"
    return Task(
        "language",
        partial(_init, model),
        partial(_loss, model),
        batches,
        _evaluation(model, corpus),
        _CHARACTERS if in_characters else _WORDS,
        Recipe(steps=6000, learning_rate=2e-3, average=0.995, evaluate_every=500),
        initial_carry=partial(_zero_carry, model, batch_size),
        baselines=_baselines(corpus, in_characters),
        recurrence=partial(_recurrence, unit, model),
        infer={"generate": generation(model, corpus.vocabulary)},
        names=corpus.vocabulary.entries,
    )


def _init(model: LanguageModel, key: Array) -> Params:
    return model.net.init(key, jnp.zeros((1, 1), jnp.int32))


def _zero_carry(model: LanguageModel, batch_size: int) -> Carry:
    """A carry before there are params: the loss replaces it where `batch.start` is true."""

    def shapes(key: Array) -> Carry:
        return initial_carry(model, _init(model, key), batch_size)

    carry = jax.eval_shape(shapes, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), carry)


def _loss(
    model: LanguageModel, params: Params, carry: Carry, batch: StreamBatch, key: Array | None
) -> tuple[Array, tuple[Carry, dict[str, Array]]]:
    fresh = initial_carry(model, params, batch.tokens.shape[1])
    carry = jax.tree.map(lambda new, old: jnp.where(batch.start, new, old), fresh, carry)
    carry, scores = model.net.apply(params, batch.tokens, carry=carry, key=key)
    cost = cross_entropy(scores, jnp.asarray(batch.targets))
    return cost, (jax.lax.stop_gradient(carry), {"bits": cost / math.log(2)})


def _recurrence(cell: Cell, model: LanguageModel, params: Params, batch: StreamBatch) -> Recurrence:
    def cost(carry: Carry, ys: Array) -> Array:
        del carry
        scores = model.head(params, ys)
        return cross_entropy(scores, jnp.asarray(batch.targets)) * batch.tokens.shape[1]

    return Recurrence(cell, params.layer, model.embed(params, jnp.asarray(batch.tokens)), cost)


def _baselines(corpus: Corpus, in_characters: bool) -> dict[str, float]:
    """N-grams, by their context: 0 to 4 characters, or 0 to 2 words; of many kinds, fewer."""
    if len(corpus.train) > _COUNTED:
        return {}
    size = len(corpus.vocabulary)
    longest = longest_context(size, 4 if in_characters else 2)
    nats = witten_bell(corpus.train, corpus.held_out, size, longest)
    costs = nats if in_characters else map(math.exp, nats)
    return {f"{k}-gram": cost for k, cost in enumerate(costs, start=1)}


def _evaluation(model: LanguageModel, corpus: Corpus) -> Callable[[Params], dict[str, float]]:
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
