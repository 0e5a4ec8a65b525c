"""Understand strings of spoken digits without being told which sound is which (CTC).

    python examples/speech.py [--data FOLDER] [RECORDING.wav …] [--short]

Without a folder of recordings, synthetic speakers say the digits; five of them are heard in the
test alone. `rnnjax train speech --mode ctc` and `rnnjax transcribe` do the same.
"""

import argparse
from pathlib import Path

from rnnjax.experiments.tasks import speech
from rnnjax.experiments.training import Settings, fit


def main():
    """Train on strings of words and their spelling, with no alignment between the two."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("recordings", nargs="*", type=Path, help="to write down at the end")
    parser.add_argument("--data", type=Path, help="folder of files such as 7_jackson_0.wav")
    parser.add_argument("--short", action="store_true", help="a few steps, to see it run")
    options = parser.parse_args()
    size: dict = {"hidden": 64}
    settings = Settings()
    if options.short:  # one word at a time, coarser features, forwards only
        size = {"hidden": 8, "words": 1, "filters": 16, "frames_per_step": 8, "both_ways": False}
        settings = Settings(steps=4, evaluate_every=4)

    # The net reads log-mel features in both directions; a softmax over the words and a blank at
    # every step says how likely each string is, summed over all ways to align it:
    #     C = -ln Σ_alignments Π_t p_t(label or blank)
    task = speech(data=options.data, mode="ctc", **size)
    result = fit(task, settings)

    wrong = result.metrics["label_error_rate"]
    print(f"edits for each word said: {wrong:.3f} (saying nothing: 1.0)")
    print(f"strings without an error: {result.metrics['exact']:.1%}")
    if options.recordings:
        understood = task.infer["transcribe"](result.params, options.recordings)
        for path, words in zip(options.recordings, understood, strict=True):
            print(f"{path}: {words}")


if __name__ == "__main__":
    main()
