"""Transcribe strings of spoken digits, trained without an alignment (CTC).

    python examples/speech.py [--data FOLDER] [RECORDING.wav …] [--short]

Without a folder of recordings, the digits are spoken by synthetic speakers, five of whom occur only
in the test set. `rnnjax train speech --mode ctc` and `rnnjax transcribe` do the same.
"""

import argparse
from pathlib import Path

from rnnjax.experiments.tasks import speech
from rnnjax.experiments.training import Settings, fit


def main():
    """Train on strings of words and their labels, with no alignment between the two."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("recordings", nargs="*", type=Path, help="to transcribe at the end")
    parser.add_argument("--data", type=Path, help="folder of files such as 7_jackson_0.wav")
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    size: dict = {"hidden": 64}
    settings = Settings()
    if options.short:  # single words, coarser features, unidirectional
        size = {
            "hidden": 8,
            "words": 1,
            "filters": 16,
            "frames_per_step": 8,
            "bidirectional": False,
        }
        settings = Settings(steps=4, evaluate_every=4)

    # The network reads log-mel features in both directions. A softmax over the words and a blank at
    # every step gives the probability of a string, summed over all its alignments:
    #     C = -ln Σ_alignments Π_t p_t(label or blank)
    task = speech(data=options.data, mode="ctc", **size)
    result = fit(task, settings)

    print(f"label error rate: {result.metrics['label_error_rate']:.3f} (empty output: 1.0)")
    print(f"exact match: {result.metrics['exact']:.1%}")
    if options.recordings:
        transcripts = task.infer["transcribe"](result.params, options.recordings)
        for path, words in zip(options.recordings, transcripts, strict=True):
            print(f"{path}: {words}")


if __name__ == "__main__":
    main()
