"""Is a review for or against? Bidirectional GRU and max-pooling, beside naive Bayes.

    python examples/sentiment.py --data FOLDER ["a text to judge" …] [--short]

The folder is that of rt-polarity or aclImdb, or a table with columns text and label. Without one,
reviews are made up. `rnnjax train sentiment --data FOLDER` and `rnnjax classify` do the same.
"""

import argparse
import csv
import random
import tempfile
from pathlib import Path

from rnnjax.experiments.tasks import sentiment
from rnnjax.experiments.training import Settings, fit

GOOD = ("moving", "funny", "brilliant", "warm")
BAD = ("dull", "clumsy", "loud", "endless")


def made_up_reviews(folder):
    """Reviews in which "not" turns the meaning around, so that counting words is not enough."""
    draw = random.Random(0)
    path = Path(folder) / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("text", "label"))
        for _ in range(400):
            praised, turned = draw.random() < 0.5, draw.random() < 0.5
            word, other = draw.choice(GOOD if praised else BAD), draw.choice(("film", "story"))
            text = f"the {other} was {'not ' if turned else ''}{word} ."
            table.writerow((text, "for" if praised != turned else "against"))
    return path


def main():
    """Train, compare with naive Bayes, and judge new texts."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("texts", nargs="*", help="to judge at the end")
    parser.add_argument("--data", type=Path, help="reviews of your own")
    parser.add_argument("--short", action="store_true", help="a few steps, to see it run")
    options = parser.parse_args()
    size: dict = {}
    settings = Settings()
    if options.short or options.data is None:
        size = {"hidden": 8, "embedding": 8, "batch_size": 20, "word_dropout": 0.0, "folds": 4}
        size |= {"dropout_rate": 0.0, "embedding_dropout": 0.0}
        settings = Settings(steps=150, learning_rate=2e-2, evaluate_every=150)

    with tempfile.TemporaryDirectory() as folder:
        task = sentiment(data=options.data or made_up_reviews(folder), **size)
        result = fit(task, settings)

    print(f"accuracy on texts held out: {result.metrics['accuracy']:.1%}")
    for name, value in task.baselines.items():
        print(f"  {name}: {value:.1%}")
    texts = options.texts or ["the film was not dull .", "the story was not moving ."]
    judged = task.infer["classify"](result.params, texts)
    for text, (label, share) in zip(texts, judged, strict=True):
        print(f"{label} ({share:.0%}): {text}")


if __name__ == "__main__":
    main()
