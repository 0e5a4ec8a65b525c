"""Stratified splits of labelled texts: cross-validation folds, and a development set."""

import math
from typing import NamedTuple

import numpy as np

from rnnjax._arguments import check_positive_int, is_int
from rnnjax._extras import optional
from rnnjax._names import option

_SEED = 0  # of all splits, so that a fold is the same in every run
DEV_SHARE = 0.2


class Split(NamedTuple):
    train: np.ndarray  # indices of texts
    test: np.ndarray


def fold_split(labels: np.ndarray, fold: int, folds: int = 10) -> Split:
    """One fold of a stratified cross-validation as the test set, the others for training.

    Each class is distributed evenly over the folds, after a shuffle with a fixed seed.

    Args:
      labels: `[N]` class indices.
      fold: the test fold, 0 … folds - 1.
      folds: number of folds, at least 2.

    Returns:
      A `Split` of sorted indices.

    Raises:
      ImportError: scikit-learn is not installed.
      TypeError: fold or folds that is not an int.
      ValueError: fold outside its range, or a class with fewer texts than folds.

    Example:
      >>> split = fold_split(np.array([0, 1] * 10), fold=2, folds=5)
      >>> len(split.train), len(split.test)
      (16, 4)

    References:
      Kohavi (1995), A study of cross-validation and bootstrap for accuracy estimation and model
      selection, IJCAI.
    """
    if check_positive_int("folds", folds) < 2:
        raise ValueError(f"{option('folds')} must be at least 2, got {folds}")
    if not is_int(fold):
        raise TypeError(
            f"{option('fold')} must be an int in 0 … {folds - 1}, got {fold!r} "
            f"({type(fold).__name__})"
        )
    if not 0 <= fold < folds:
        raise ValueError(f"{option('fold')} must be one of 0 … {folds - 1}, got {fold}")
    fewest = int(np.bincount(labels).min())
    if fewest < folds:
        raise ValueError(
            f"{folds} folds need {folds} texts of each class, and one class has {fewest}: use "
            "fewer folds"
        )
    splitter = optional("sklearn.model_selection").StratifiedKFold(
        folds, shuffle=True, random_state=_SEED
    )
    train, test = list(splitter.split(labels, labels))[fold]
    return Split(train, test)


def dev_split(labels: np.ndarray, train: np.ndarray) -> Split:
    """Hold out a fifth of the training part as a development set, for model selection.

    Raises:
      ImportError: scikit-learn is not installed.
      ValueError: too few texts for one of each class in both parts.
    """
    counts = np.bincount(labels[train])
    counts = counts[counts > 0]
    if counts.min() < 2 or math.ceil(DEV_SHARE * len(train)) < len(counts):
        raise ValueError(
            f"{option('dev', True)} holds out a fifth of the {len(train):,} training texts, with "
            f"texts of each of the {len(counts)} classes in both parts: it needs at least "
            f"{round((len(counts) - 1) / DEV_SHARE) + 1} texts and two of each class, and one "
            f"class has {counts.min():,}. Add texts, or leave it out"
        )
    kept, dev = optional("sklearn.model_selection").train_test_split(
        train, test_size=DEV_SHARE, random_state=_SEED, stratify=labels[train]
    )
    return Split(np.sort(kept), np.sort(dev))
