"""Models over any cell: many to one, many to many, encoder-decoder; decoding; masked losses."""

from rnnjax.scenarios._beam import beam_search
from rnnjax.scenarios._ctc import ctc
from rnnjax.scenarios._decoder import Decoder, DecoderParams, DecoderState
from rnnjax.scenarios._decoding import Decoded, greedy, sample
from rnnjax.scenarios._encoder_decoder import encoder_decoder
from rnnjax.scenarios._losses import cross_entropy, squared_error, valid_steps
from rnnjax.scenarios._many_to_many import (
    ManyToMany,
    ManyToManyParams,
    closed_loop,
    many_to_many,
)
from rnnjax.scenarios._many_to_one import (
    ManyToOne,
    ManyToOneParams,
    OneToOne,
    many_to_one,
    one_to_one,
)
from rnnjax.scenarios._modules import Module, dropout
from rnnjax.scenarios._one_to_many import one_to_many
from rnnjax.scenarios._pooling import Pooling, pooled

__all__ = [
    "Decoded",
    "Decoder",
    "DecoderParams",
    "DecoderState",
    "ManyToMany",
    "ManyToManyParams",
    "ManyToOne",
    "ManyToOneParams",
    "Module",
    "OneToOne",
    "Pooling",
    "beam_search",
    "closed_loop",
    "cross_entropy",
    "ctc",
    "dropout",
    "encoder_decoder",
    "greedy",
    "many_to_many",
    "many_to_one",
    "one_to_many",
    "one_to_one",
    "pooled",
    "sample",
    "squared_error",
    "valid_steps",
]
