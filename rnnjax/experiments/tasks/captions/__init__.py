"""Image captioning: the task, its scores, and captions with their attention maps."""

from rnnjax.experiments.tasks.captions._caption import caption, restore_caption
from rnnjax.experiments.tasks.captions._describe import Described
from rnnjax.experiments.tasks.captions._scores import best_constant, bleu

__all__ = ["Described", "best_constant", "bleu", "caption", "restore_caption"]
