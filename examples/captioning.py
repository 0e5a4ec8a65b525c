"""Say in a sentence what is in a picture: a CNN, and an LSTM that looks at its features.

    python examples/captioning.py [--data FOLDER] [--short]

Without a folder in Flickr8k's or COCO's layout, pictures of coloured shapes are drawn, and tested
on pairs of colour and shape that were never seen together as well. `rnnjax train caption` and
`rnnjax caption` do the same.
"""

import argparse
from pathlib import Path

from rnnjax.tasks import caption
from rnnjax.tasks.captions import picture
from rnnjax.training import Settings, fit


def main():
    """Train the CNN and the decoder together, and caption pictures that are new to them."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--data", type=Path, help="folder of pictures with captions")
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
    side = size.get("side", 32)
    for number in range(4):
        shown = picture(number, part="combinations", side=side)
        said = task.infer["caption"](result.params, shown.image)
        print(f"said: {said}\n  true: {shown.scene.sentences[0]}")


if __name__ == "__main__":
    main()
