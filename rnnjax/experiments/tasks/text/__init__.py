"""Tasks on text: sentiment classification and language modelling."""

from rnnjax.experiments.tasks.text._language import language, restore_language
from rnnjax.experiments.tasks.text._language_model import LanguageModel, language_model
from rnnjax.experiments.tasks.text._sentiment import restore_sentiment, sentiment

__all__ = [
    "LanguageModel",
    "language",
    "language_model",
    "restore_language",
    "restore_sentiment",
    "sentiment",
]
