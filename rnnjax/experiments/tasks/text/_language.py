"""The language modelling task: predict the next character or word."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from rnnjax._checks import check_positive_int, check_rate
from rnnjax._names import option
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments.data import digest_arrays
from rnnjax.experiments.data.text import (
    Corpus,
    HeldOutWindow,
    StreamBatch,
    Vocabulary,
    held_out_windows,
    longest_context,
    open_corpus,
    streams,
    witten_bell,
)
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_cell
from rnnjax.experiments.tasks._recipes import LANGUAGE
from rnnjax.experiments.tasks._task import Metric, Model, Recurrence, Task
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
_SHORTEST = 128  # tokens of a stream, so that a short text has fewer streams
_COUNTED = 20_000_000  # tokens; n-grams of longer texts might not fit in memory


@with_checked_options
def language(
    *,
    text: Annotated[
        Path | None,
        "A text file, or a folder of train, valid and test files such as ptb.train.txt.",
    ] = None,
    units: Annotated[
        str, "characters; words, with punctuation separate; or spaces, whitespace-separated words."
    ] = "characters",
    held_out: Annotated[float, "Held-out share of a single file, from its end."] = 0.1,
    part: Annotated[str, "Part of a folder to evaluate on: valid or test."] = "valid",
    encoding: Annotated[str, "Encoding of the files."] = "utf-8",
    lowercase: Annotated[bool, "Convert to lower case."] = False,
    max_words: Annotated[int | None, "Largest size of the vocabulary."] = None,
    cell: CellOption = "gru",
    hidden: Hidden = 512,
    layers: Layers = 1,
    embedding: Annotated[int, "Size of the token embedding."] = 64,
    tied: Annotated[bool, "Tie the output weights to the embedding."] = False,
    dropout_rate: Annotated[float, "Dropout rate of the input of the output layer."] = 0.3,
    embedding_dropout: Annotated[float, "Dropout rate of the embedding."] = 0.0,
    unroll_steps: Annotated[int, "Truncation length of BPTT, in steps."] = 64,
    batch_size: BatchSize = 32,
) -> Task:
    """Language modelling: predict each character or word of a text from all before it.

        h_t = cell(h_{t-1}, E[w_t]);   p(w_{t+1} | w_1 … w_t) = softmax(W h_t + b)

    Trained by stateful truncated BPTT: the text is cut into `batch_size` parallel streams;
    each batch of `unroll_steps` steps starts from the final state of the one before, where the
    gradient stops.

    Metric: nats per character for characters, perplexity per word for words. `evaluate` returns
    `nats` and `perplexity` per token, and `nats_per_character` and `bits_per_character`, the total
    over the number of characters of the held-out text. The state is carried through the whole of
    it, in a few streams that each first read the 128 tokens before them. The best checkpoint is
    chosen on the same text, which makes its score optimistic: report the last, or evaluate it on
    another part.

    The baselines are Witten-Bell n-gram models of the same training text.
    `infer["generate"](params, prompt, length, *, key, temperature=1.0, top_k=None, top_p=None)`
    continues a prompt.

    Args:
      text: a file or folder; required.
      units, held_out, part, encoding, lowercase, max_words: how it is read.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer.
      layers: number of stacked layers.
      embedding: size of the token embedding.
      tied: whether the output layer shares the embedding.
      dropout_rate, embedding_dropout: in training.
      unroll_steps: T, the truncation length.
      batch_size: number of streams.

    Returns:
      A `Task`.

    Raises:
      FileNotFoundError: no such file or folder, or a part is missing.
      ImportError: tokenizers or grain is not installed.
      ValueError: no text, an unknown name, a text that is empty, too short, or not in the
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
        raise ValueError(
            f"{option('text')} must be given: a text file, or a folder such as that of the PTB"
        )
    check_positive_int("unroll_steps", unroll_steps)
    check_positive_int("batch_size", batch_size)
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
    batches(0)  # raises now if the text is too short for a batch
    in_characters = units == "characters"
    kind = "characters" if in_characters else "words"
    return Task(
        "language",
        partial(_init, model),
        partial(_loss, model),
        batches,
        _evaluation(model, corpus),
        _CHARACTERS if in_characters else _WORDS,
        LANGUAGE,
        initial_carry=partial(_zero_carry, model, batch_size),
        baselines=_baselines(corpus, in_characters),
        recurrence=partial(_recurrence, unit, model),
        infer={"generate": generation(model, corpus.vocabulary)},
        notes=[
            f"{text}: {len(corpus.train):,} {kind} for training, {len(corpus.held_out):,} held "
            f"out, {len(corpus.vocabulary):,} in the vocabulary"
        ],
        data={
            "tokens": len(corpus.train),
            "held_out_tokens": len(corpus.held_out),
            "vocabulary": list(corpus.vocabulary.entries),
        },
        digest=lambda: digest_arrays(corpus.train, corpus.held_out),
    )


def restore_language(
    facts: Mapping[str, Any],
    /,
    *,
    units: str,
    lowercase: bool,
    cell: CellOption,
    hidden: int,
    layers: int,
    embedding: int,
    tied: bool,
    dropout_rate: float,
    embedding_dropout: float,
    **_: Any,
) -> Model:
    """The model of `language(...)`, from `Task.data` and the same options."""
    vocabulary = Vocabulary(facts["vocabulary"], units, lowercase)
    model = language_model(
        make_cell(cell, hidden, layers),
        len(vocabulary),
        embedding,
        tied=tied,
        dropout_rate=dropout_rate,
        embedding_dropout=embedding_dropout,
    )
    return Model(partial(_init, model), {"generate": generation(model, vocabulary)})


def _init(model: LanguageModel, key: Array) -> Params:
    return model.net.init(key, jnp.zeros((1, 1), jnp.int32))


def _zero_carry(model: LanguageModel, batch_size: int) -> Carry:
    """A placeholder carry of the right shapes; the loss replaces it where `batch.start` is true."""

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
    """N-gram baselines with contexts of 0 to 4 characters, or 0 to 2 words, if codes allow."""
    if len(corpus.train) > _COUNTED:
        return {}
    size = len(corpus.vocabulary)
    longest = longest_context(size, 4 if in_characters else 2)
    nats = witten_bell(corpus.train, corpus.held_out, size, longest)
    costs = nats if in_characters else map(math.exp, nats)
    return {f"{k}-gram": cost for k, cost in enumerate(costs, start=1)}


def _evaluation(model: LanguageModel, corpus: Corpus) -> Callable[[Params], dict[str, float]]:
    """`params -> scores`: cross-entropy of the held-out text, each token scored once."""
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
