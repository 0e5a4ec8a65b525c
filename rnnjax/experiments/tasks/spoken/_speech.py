"""Spoken words: which one was said, or which string of them."""

from pathlib import Path
from typing import Annotated

from rnnjax._checks import check_choice, check_positive_int, check_rate
from rnnjax.experiments.data.audio import (
    HOP,
    FrontEnd,
    open_recordings,
    split_recordings,
    synthetic_recordings,
)
from rnnjax.experiments.tasks._options import BatchSize, CellOption, Hidden, Layers, make_layer
from rnnjax.experiments.tasks._task import Task
from rnnjax.experiments.tasks.spoken._setup import Setup
from rnnjax.experiments.tasks.spoken._strings import string_task
from rnnjax.experiments.tasks.spoken._words import word_task

_SPEAKERS, _TAKES = 20, 4  # of the generated set


def speech(
    *,
    data: Annotated[Path | None, "Folder of WAV files; a generated set of digits without."] = None,
    mode: Annotated[str, "word: which word it is; ctc: which string of words."] = "word",
    held_out: Annotated[str | None, "Speakers to test on, with commas between."] = None,
    cell: CellOption = "lstm",
    hidden: Hidden = 64,
    layers: Layers = 1,
    both_ways: Annotated[bool, "Read every recording in both directions."] = True,
    pooling: Annotated[str, "Outputs of a word's steps: last, mean, sum, max, attention."] = "mean",
    dropout_rate: Annotated[float, "Share of the net's outputs that training drops."] = 0.3,
    spec_augment: Annotated[
        bool, "Blank bands of frequency and stretches of time in training."
    ] = True,
    words: Annotated[int, "Words in the longest string (ctc)."] = 5,
    rate: Annotated[int, "Samples a second; others are converted."] = 8000,
    filters: Annotated[int, "Mel filters, the features of one frame of 10 ms."] = 40,
    frames_per_step: Annotated[int, "Frames that the net reads in one step."] = 3,
    batch_size: BatchSize = 32,
) -> Task:
    """Tell spoken words, from their log-mel features.

        word:  y_1 … y_T = net(x_1 … x_T);   p = softmax(W pool(y_1 … y_T) + b)
        ctc:   p_t = softmax(W y_t + b) over the words and a blank, summed over all alignments

    Recordings have different lengths, and batches hold similar ones. In `ctc` mode an example is
    a string of 1 to `words` recordings of one speaker, with pauses, drawn anew for every batch;
    it is decoded greedily. Without a folder the ten digits are said by 20 synthetic speakers,
    the last five of whom are for testing.

    A folder has files named like `7_jackson_0.wav`, those numbered 0 to 4 for testing (the Free
    Spoken Digit Dataset), or a folder of files for each word (Speech Commands): those in
    `testing_list.txt` are for testing, without it a fifth of the speakers (what stands before
    `_nohash_`), and where the names tell no speakers every fifth file.
    Files are 8, 16, 24 or 32-bit PCM of any rate; channels are averaged.

    Metric: `accuracy`, or in `ctc` mode `label_error_rate`: the edits from what was understood to
    what was said, for each word said; `exact` is the share of strings without one. Baselines: the
    commonest word of training, and logistic regression on the recording stretched to 16 frames;
    in `ctc` mode saying nothing.

    `infer["classify"](params, files) -> [(word, probability), …]` or, in `ctc` mode,
    `infer["transcribe"](params, files) -> ["7 3 1", …]`.

    Args:
      data: the folder.
      mode: "word" or "ctc".
      held_out: speakers such as "jackson,theo"; None for the test set above.
      cell: a key of `rnnjax.experiments.tasks.CELLS`, or a function hidden -> `Cell`.
      hidden: units of every layer and direction.
      layers: how many.
      both_ways: a second net reads backwards in time.
      pooling: of a word's outputs, as in `rnnjax.scenarios.many_to_one`.
      dropout_rate: of what the head reads.
      spec_augment: zero a band and a stretch of each training example (SpecAugment).
      words: in the longest string.
      rate: samples a second, at least 100.
      filters, frames_per_step: of the features.
      batch_size: recordings in a training batch.

    Returns:
      A `Task`. It has a `recurrence` with one layer or more in one direction.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a bad file (by its name), a folder in neither layout, an unknown speaker, or
        options out of range.

    Example:
      >>> from rnnjax.experiments.tasks import speech
      >>> task = speech(hidden=8)
      >>> batch = task.batches(0)[0]
      >>> batch.xs.shape[1:], batch.labels.shape
      ((32, 120), (32,))

    References:
      Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification:
      labelling unsegmented sequence data with recurrent neural networks, ICML.
      Jackson et al. (2018), Free Spoken Digit Dataset, doi 10.5281/zenodo.1342401.
    """
    check_choice("mode", mode, ("word", "ctc"))
    check_rate("dropout_rate", dropout_rate)
    sizes = {"words": words, "rate": rate, "filters": filters, "frames_per_step": frames_per_step}
    for name, value in {**sizes, "batch_size": batch_size}.items():
        check_positive_int(name, value)
    if rate * HOP < 1:
        raise ValueError(
            f"rate must be at least {round(1 / HOP)}, one sample for each frame of 10 ms, got "
            f"{rate}"
        )
    recordings = (
        synthetic_recordings(_SPEAKERS, _TAKES)
        if data is None
        else open_recordings(Path(data), rate)
    )
    setup = Setup(
        recordings,
        *split_recordings(recordings, held_out),
        front_end=FrontEnd(recordings.rate, filters, frames_per_step),
        layer=make_layer(cell, hidden, layers, both_ways=both_ways),
        dropout=dropout_rate,
        spec_augment=spec_augment,
        batch_size=batch_size,
    )
    return word_task(setup, pooling) if mode == "word" else string_task(setup, words)
