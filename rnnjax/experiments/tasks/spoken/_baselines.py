"""What can be told of a spoken word without a recurrent net."""

import warnings
from collections import Counter

import numpy as np

from rnnjax._extras import optional
from rnnjax.experiments.tasks.spoken._examples import FrontEnd
from rnnjax.experiments.tasks.spoken._recordings import Recordings

_FRAMES = 16
_FITTED = 4000  # recordings that the linear model is fitted to


def most_common(recordings: Recordings, train: np.ndarray, test: np.ndarray) -> float:
    """The accuracy of always saying the word that is commonest in training."""
    counts = Counter(recordings.entries[k].label for k in train)
    word = counts.most_common(1)[0][0]
    return sum(recordings.entries[k].label == word for k in test) / len(test)


def linear_accuracy(
    recordings: Recordings, front_end: FrontEnd, train: np.ndarray, test: np.ndarray
) -> float:
    """Multinomial logistic regression on recordings stretched to 16 steps.

    Fitted to at most 4,000 training recordings, evenly spaced, and judged on as many.
    """

    def stretched(numbers: np.ndarray) -> np.ndarray:
        found = [front_end(recordings.samples(k)) for k in numbers]
        return np.stack([x[_evenly(len(x), _FRAMES)].ravel() for x in found])

    def words(numbers: np.ndarray) -> list[str]:
        return [recordings.entries[k].label for k in numbers]

    train, test = (x[np.unique(_evenly(len(x), _FITTED))] for x in (train, test))
    model = optional("sklearn.linear_model").LogisticRegression(C=0.01, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # near the best is good enough
        model.fit(stretched(train), words(train))
    return float(model.score(stretched(test), words(test)))


def _evenly(count: int, places: int) -> np.ndarray:
    return np.linspace(0, count - 1, places).round().astype(int)
