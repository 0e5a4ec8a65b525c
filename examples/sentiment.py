"""Classify the sentiment of reviews with a bidirectional GRU and max-pooling.

    python examples/sentiment.py --data FOLDER ["a text to classify" …] [--short]

The folder is that of rt-polarity or aclImdb, or a table with columns text and label. Without one,
it trains on synthetic reviews. `rnnjax train sentiment --data FOLDER` and `rnnjax classify` do the
same.
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


def synthetic_reviews(folder):
    """Reviews in which "not" reverses the label, so that word counts are not enough."""
    draw = random.Random(0)
    path = Path(folder) / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("text", "label"))
        for _ in range(400):
            good, negated = draw.random() < 0.5, draw.random() < 0.5
            word, noun = draw.choice(GOOD if good else BAD), draw.choice(("film", "story"))
            text = f"the {noun} was {'not' if negated else 'so'} {word} ."
            table.writerow((text, "positive" if good != negated else "negative"))
    return path


def main():
    """Train, compare with naive Bayes, and classify new texts."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("texts", nargs="*", help="to classify at the end")
    parser.add_argument("--data", type=Path, help="reviews; default: synthetic ones")
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    size: dict = {}
    settings = Settings()
    if options.short or options.data is None:
        size = {"hidden": 8, "embedding": 8, "batch_size": 20, "word_dropout": 0.0, "folds": 4}
        size |= {"dropout_rate": 0.0, "embedding_dropout": 0.0}
        settings = Settings(steps=100, learning_rate=2e-2, evaluate_every=100)

    with tempfile.TemporaryDirectory() as folder:
        task = sentiment(data=options.data or synthetic_reviews(folder), **size)
        result = fit(task, settings)

    print(f"held-out accuracy: {result.metrics['accuracy']:.1%}")
    for name, value in task.baselines.items():
        print(f"  baseline {name}: {value:.1%}")
    texts = options.texts or ["the film was not dull .", "the story was not moving ."]
    classified = task.infer["classify"](result.params, texts)
    for text, (label, probability) in zip(texts, classified, strict=True):
        print(f"{label} ({probability:.0%}): {text}")


if __name__ == "__main__":
    main()
