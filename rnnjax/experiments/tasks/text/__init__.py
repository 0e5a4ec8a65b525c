"""Tasks on text: what a review thinks, and what comes next."""

from rnnjax.experiments.tasks.text._language import language
from rnnjax.experiments.tasks.text._language_model import LanguageModel, language_model
from rnnjax.experiments.tasks.text._sentiment import sentiment
from rnnjax.experiments.tasks.text._vocabulary import Vocabulary, learn_vocabulary

__all__ = [
    "LanguageModel",
    "Vocabulary",
    "language",
    "language_model",
    "learn_vocabulary",
    "sentiment",
]
