"""The speech recognition task: single words, or strings of words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from rnnjax._checks import check_choice, check_rate
from rnnjax._names import option
from rnnjax.experiments._effects import check_no_effect
from rnnjax.experiments._fields import with_checked_options
from rnnjax.experiments._memory import check_fits
from rnnjax.experiments.data.audio import (
    HOP,
    FrontEnd,
    Recordings,
    open_recordings,
    split_recordings,
    synthetic_recordings,
)
from rnnjax.experiments.tasks._options import (
    BatchSize,
    CellOption,
    Hidden,
    Layers,
    check_positive_ints,
    make_layer,
)
from rnnjax.experiments.tasks._task import Model, Task
from rnnjax.experiments.tasks.spoken._setup import Setup, setup_for_inference
from rnnjax.experiments.tasks.spoken._strings import string_model, string_task
from rnnjax.experiments.tasks.spoken._words import word_model, word_task

_SPEAKERS, _TAKES = 20, 4  # of the synthetic data


@with_checked_options
def speech(
    *,
    data: Annotated[Path | None, "Folder of WAV files; by default synthetic digits."] = None,
    mode: Annotated[str, "word: single words; ctc: strings of words."] = "word",
    held_out: Annotated[str | None, "Test speakers, separated by commas."] = None,
    cell: CellOption = "lstm",
    hidden: Hidden = 64,
    layers: Layers = 1,
    bidirectional: Annotated[bool, "Use a bidirectional network."] = True,
    pooling: Annotated[
        str, "Pooling over time of words: last, mean, sum, max or attention."
    ] = "mean",
    dropout_rate: Annotated[float, "Dropout rate of the input of the head."] = 0.3,
    spec_augment: Annotated[
        bool, "Mask frequency bands and time spans in training (SpecAugment)."
    ] = True,
    words: Annotated[int, "Largest number of words in a string (ctc)."] = 5,
    rate: Annotated[int, "Sample rate in Hz; recordings are resampled to it."] = 8000,
    filters: Annotated[int, "Mel filters: features of each frame of 10 ms."] = 40,
    frames_per_step: Annotated[int, "Frames that are concatenated into one step."] = 3,
    batch_size: BatchSize = 32,
) -> Task:
    """Recognise spoken words from log-mel features.

        word:  y_1 … y_T = net(x_1 … x_T);   p = softmax(W pool(y_1 … y_T) + b)
        ctc:   p_t = softmax(W y_t + b) over the words and a blank, summed over all alignments

    Batches contain recordings of similar length, and an epoch leaves out those that would not fill
    its last batch. In `ctc` mode an example is a random string of 1 to `words` recordings of one
    speaker, with pauses; decoding is greedy. The default data are the ten digits by 20 synthetic
    speakers, the last five of whom are for testing.

    A folder has files named like `7_jackson_0.wav`, those numbered 0 to 4 for testing (the Free
    Spoken Digit Dataset), or one folder of files per word (Speech Commands), where the test set is
    that in `testing_list.txt`, else a fifth of the speakers (the part of the name before
    `_nohash_`), or every fifth file if there are no speakers in the names.
    Files are PCM of 8 to 32 bits or floats, of any sample rate; channels are averaged.

    Metric: `accuracy`, or in `ctc` mode `label_error_rate`, the edit distance per word; `exact` is
    the share of strings without error. Baselines: the most frequent word of training, and logistic
    regression on the recording resampled to 16 steps; in `ctc` mode the empty string. The best
    checkpoint is chosen on the same test recordings, which makes its score optimistic: report the
    last.

    `infer["classify"](params, files) -> [(word, probability), …]` or, in `ctc` mode,
    `infer["transcribe"](params, files) -> ["7 3 1", …]`.

    Args:
      data: the folder.
      mode: "word" or "ctc".
      held_out: test speakers such as "jackson,theo"; None for the test set above.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units per layer and direction.
      layers: number of stacked layers.
      bidirectional: whether the network is bidirectional.
      pooling: of the outputs of a word, as in `rnnjax.scenarios.many_to_one`.
      dropout_rate: of the input of the head.
      spec_augment: mask a frequency band and a time span of each training example (SpecAugment).
      words: largest number of words in a string.
      rate: sample rate, Hz, at least 100.
      filters, frames_per_step: of the features.
      batch_size: recordings per training batch.

    Returns:
      A `Task`. It has a `recurrence` with one layer or more in one direction.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a bad file (by its name), a folder in neither layout, an unknown speaker, or
        options out of range.

    Example:
      >>> from rnnjax.experiments.tasks import speech
      >>> task = speech(mode="ctc", hidden=8)
      >>> batch = task.batches(0)[0]
      >>> batch.xs.shape[1:], batch.labels.shape
      ((32, 120), (5, 32))

    References:
      Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification:
      labelling unsegmented sequence data with recurrent neural networks, ICML.
      Jackson et al. (2018), Free Spoken Digit Dataset, doi 10.5281/zenodo.1342401.
    """
    check_choice("mode", mode, ("word", "ctc"))
    check_rate("dropout_rate", dropout_rate)
    check_positive_ints(words=words, rate=rate, filters=filters)
    check_positive_ints(frames_per_step=frames_per_step, batch_size=batch_size)
    if rate * HOP < 1:
        raise ValueError(
            f"{option('rate')} must be at least {round(1 / HOP)}, one sample for each frame of "
            f"10 ms, got {rate}"
        )
    unused = {"words": words} if mode == "word" else {"pooling": pooling}
    check_no_effect(speech, unused, f"with {option('mode', mode)}")
    if data is None:
        check_no_effect(speech, {"rate": rate}, f"without {option('data')}")
    recordings = (
        synthetic_recordings(_SPEAKERS, _TAKES)
        if data is None
        else open_recordings(Path(data), rate)
    )
    front_end = FrontEnd(recordings.rate, filters, frames_per_step)
    _check_sizes(recordings, front_end, batch_size, words if mode == "ctc" else 1)
    setup = Setup(
        recordings,
        *split_recordings(recordings, held_out),
        front_end=front_end,
        layer=make_layer(cell, hidden, layers, bidirectional=bidirectional),
        dropout=dropout_rate,
        spec_augment=spec_augment,
        batch_size=batch_size,
    )
    return word_task(setup, pooling) if mode == "word" else string_task(setup, words)


def _check_sizes(recordings: Recordings, front_end: FrontEnd, batch_size: int, words: int) -> None:
    """Raise ValueError, naming the options, if features or a batch would not fit into memory."""
    sizes = [entry.size for entry in recordings.entries]
    steps, (spectrum, bank) = front_end.steps(max(sizes)), front_end.bytes_of(max(sizes))
    filters, frames = front_end.filters, front_end.frames_per_step
    check_fits(f"{option('rate', front_end.rate)}: the spectrum of the longest recording", spectrum)
    what = f"{option('rate', front_end.rate)}, {option('filters', filters)}: the mel filters"
    check_fits(what, bank)
    if words > 1:
        steps = words * front_end.steps(sum(sizes) // len(sizes)) // 2  # half as many, on average
    given = [("batch_size", batch_size), ("frames_per_step", frames), ("filters", filters)]
    given += [("words", words)] if words > 1 else []
    what = f"{', '.join(option(*each) for each in given)}: the features of a batch"
    if words == 1:
        batch_size = min(batch_size, len(sizes))
    check_fits(what, 4 * batch_size * (steps * frames * filters + words))


def restore_speech(
    facts: Mapping[str, Any],
    /,
    *,
    mode: str,
    cell: CellOption,
    hidden: int,
    layers: int,
    bidirectional: bool,
    pooling: str,
    filters: int,
    frames_per_step: int,
    **_: Any,
) -> Model:
    """The model of `speech(...)`, from `Task.data` and the same options."""
    layer = make_layer(cell, hidden, layers, bidirectional=bidirectional)
    setup = setup_for_inference(facts, filters, frames_per_step, layer)
    return word_model(setup, pooling) if mode == "word" else string_model(setup)
