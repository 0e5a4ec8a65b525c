"""Decoders with params and data, and what they decode from."""

from functools import cache

import numpy as np
from scenario_nets import (
    CELLS,
    B,
    D,
    T,
    V,
    embedding,
    head,
    noisy,
    params_of,
    words,
)

from rnnjax import scenarios

S, F = 4, 3
SOURCE_LENGTHS = np.array([S, 1, 3])
ATTENTIONS = (None, "dot", "additive")


@cache
def caption(name="lstm"):
    """A one-to-many net with params and data."""
    model = scenarios.one_to_many(CELLS[name], head(V), embed=embedding())
    feature, ids = noisy(1, (B, F)), words(2, (T, B))
    return model, params_of(model.init, feature, ids), feature, ids


@cache
def translate(attention, name="lstm", encoder="lstm"):
    model = scenarios.encoder_decoder(
        CELLS[encoder], CELLS[name], head(V), embed=embedding(), attention=attention
    )
    source, ids = noisy(1, (S, B, D)), words(2, (T, B))
    return model, params_of(model.init, source, ids), source, ids
