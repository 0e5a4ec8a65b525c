"""Say in a sentence what is in a picture: a CNN, and an LSTM that looks at its features.

    python examples/captioning.py [--data FOLDER] [--figure FILE] [--short]

Without a folder in Flickr8k's or COCO's layout, pictures of coloured shapes are drawn, and tested
on pairs of colour and shape that were never seen together as well. `rnnjax train caption` and
`rnnjax caption` do the same.
"""

import argparse
from pathlib import Path

from rnnjax.experiments.data import picture, read_image
from rnnjax.experiments.report import CaptionRow, write_captions
from rnnjax.experiments.tasks import caption
from rnnjax.experiments.training import Settings, fit

SHOWN = 5


def to_caption(folder, side):
    """Pictures, each with the sentences that are true of it; with none from a folder of data."""
    if folder is None:
        drawn = [picture(number, part="combinations", side=side) for number in range(SHOWN)]
        return [(one.image, one.scene.sentences) for one in drawn]
    endings = (".jpg", ".jpeg", ".png")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    return [(read_image(path, side), ()) for path in files[:SHOWN]]


def main():
    """Train the CNN and the decoder together, and let them caption pictures."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, help="folder of pictures with captions")
    parser.add_argument("--figure", type=Path, help="draw where the net looked into this file")
    parser.add_argument("--short", action="store_true", help="a few steps, to see it run")
    options = parser.parse_args()
    size: dict = {}
    settings = Settings()
    if options.short:
        size = {"hidden": 8, "channels": 8, "embedding": 8, "pictures": 64, "test_pictures": 8}
        size |= {"side": 16, "batch_size": 8}
        settings = Settings(steps=4, evaluate_every=4)

    # Before each word the decoder looks at the CNN's map of features with weights that it computes
    # from its own state (attention); in training it reads the words of the true caption.
    task = caption(data=options.data, attention="additive", **size)
    result = fit(task, settings)

    metrics = result.metrics
    print(f"BLEU-1 and BLEU-4: {metrics['bleu_1']:.1f}, {metrics['bleu_4']:.1f}")
    print(f"  the same captions on other pictures: {metrics['shuffled_bleu_1']:.1f}")
    for name, value in task.baselines.items():
        print(f"  {name}: {value:.3g} ({task.metric.name})")
    rows = []
    for image, sentences in to_caption(options.data, size.get("side", 32)):
        said, looked = task.infer["caption"](result.params, image, looked=True)
        rows.append(CaptionRow(image, said, sentences, looked))
        print(f"said: {said}", *(f"  true: {sentence}" for sentence in sentences), sep="\n")
    if options.figure is not None:
        print(f"where the net looked is in {write_captions(rows, options.figure)}")


if __name__ == "__main__":
    main()
