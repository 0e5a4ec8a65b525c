"""Sentences that describe pictures."""

from rnnjax.experiments.tasks.captions._batches import CaptionBatch
from rnnjax.experiments.tasks.captions._bleu import best_constant, bleu
from rnnjax.experiments.tasks.captions._caption import caption
from rnnjax.experiments.tasks.captions._captions_file import read_captions
from rnnjax.experiments.tasks.captions._describe import Described
from rnnjax.experiments.tasks.captions._images import read_image
from rnnjax.experiments.tasks.captions._pictures import HELD_OUT, Picture, Scene, Thing, picture

__all__ = [
    "HELD_OUT",
    "CaptionBatch",
    "Described",
    "Picture",
    "Scene",
    "Thing",
    "best_constant",
    "bleu",
    "caption",
    "picture",
    "read_captions",
    "read_image",
]
