"""Caption images with a CNN and an LSTM that attends to its feature map.

    python examples/captioning.py [--data FOLDER] [--figure FILE] [--short]

Without a folder in the layout of Flickr8k or COCO, it trains on synthetic images of colored shapes
and tests on pairs of color and shape that do not occur together in training. `rnnjax train caption`
and `rnnjax caption` do the same.
"""

import argparse
from pathlib import Path

from rnnjax.experiments.data import picture, read_image
from rnnjax.experiments.report import CaptionRow, write_captions
from rnnjax.experiments.tasks import caption
from rnnjax.experiments.training import Settings, fit


def to_caption(folder, side, count):
    """Images with their reference captions; without references if they come from a folder."""
    if folder is None:
        drawn = [picture(number, part="combinations", side=side) for number in range(count)]
        return [(one.image, one.scene.sentences) for one in drawn]
    endings = (".jpg", ".jpeg", ".png")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    return [(read_image(path, side), ()) for path in files[:count]]


def main():
    """Train the CNN and the decoder together, and caption some images."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, help="folder of images with captions")
    parser.add_argument("--figure", type=Path, help="draw the attention maps into this file")
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    size: dict = {}
    settings, shown = Settings(), 5
    if options.short:
        size = {"hidden": 8, "channels": 8, "embedding": 8, "pictures": 64, "test_pictures": 8}
        size |= {"side": 16, "batch_size": 8}
        settings, shown = Settings(steps=4, evaluate_every=4), 2

    # For each word the decoder attends to the CNN's feature map with weights computed from its own
    # state (additive attention); in training it reads the words of the reference (teacher forcing).
    task = caption(data=options.data, attention="additive", **size)
    result = fit(task, settings)

    metrics = result.metrics
    print(f"BLEU-1 and BLEU-4: {metrics['bleu_1']:.1f}, {metrics['bleu_4']:.1f}")
    print(f"  BLEU-1 of the captions shuffled among images: {metrics['shuffled_bleu_1']:.1f}")
    for name, value in task.baselines.items():
        print(f"  {name}: {value:.3g} ({task.metric.name})")
    rows = []
    for image, sentences in to_caption(options.data, size.get("side", 32), shown):
        said, looked = task.infer["caption"](result.params, image, looked=True)
        rows.append(CaptionRow(image, said, sentences, looked))
        print(f"caption: {said}", *(f"  reference: {true}" for true in sentences), sep="\n")
    if options.figure is not None:
        print(f"the attention maps are in {write_captions(rows, options.figure)}")


if __name__ == "__main__":
    main()
