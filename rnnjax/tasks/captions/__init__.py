"""Sentences that describe pictures."""

from rnnjax.tasks.captions._pictures import HELD_OUT, Picture, Scene, Thing, picture

__all__ = ["HELD_OUT", "Picture", "Scene", "Thing", "picture"]
