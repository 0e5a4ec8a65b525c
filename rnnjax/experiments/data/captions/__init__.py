"""Captioned pictures: Flickr8k's and COCO's layouts, synthetic scenes, vocabulary and batches."""

from rnnjax.experiments.data.captions._captioned import (
    CaptionBatch,
    Captioned,
    CaptionSource,
    caption_batches,
)
from rnnjax.experiments.data.captions._features import Features
from rnnjax.experiments.data.captions._files import PictureCaptions, read_captions
from rnnjax.experiments.data.captions._folder import open_captioned_pictures
from rnnjax.experiments.data.captions._scenes import (
    HELD_OUT,
    Picture,
    Scene,
    Thing,
    picture,
    synthetic_pictures,
)
from rnnjax.experiments.data.captions._words import (
    BEGIN,
    END,
    UNKNOWN,
    Sentences,
    caption_vocabulary,
    decode_caption,
    normalise_caption,
)

__all__ = [
    "BEGIN",
    "END",
    "HELD_OUT",
    "UNKNOWN",
    "CaptionBatch",
    "CaptionSource",
    "Captioned",
    "Features",
    "Picture",
    "PictureCaptions",
    "Scene",
    "Sentences",
    "Thing",
    "caption_batches",
    "caption_vocabulary",
    "decode_caption",
    "normalise_caption",
    "open_captioned_pictures",
    "picture",
    "read_captions",
    "synthetic_pictures",
]
