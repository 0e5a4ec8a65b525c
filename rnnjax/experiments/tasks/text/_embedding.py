"""Token embeddings with dropout of features."""

import flax.linen as nn
import jax.numpy as jnp

from rnnjax._types import Array


class Embedding(nn.Module):
    """Ids `[...]` to features `[..., D]`, with dropout in training.

        x_t = m_t ⊙ E[w_t],   m_t ~ Bernoulli(1 - dropout) / (1 - dropout)

    Dropout is active with a "dropout" key alone, as `rnnjax.scenarios` passes one.
    """

    entries: int
    features: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, ids: Array) -> Array:
        table = nn.Embed(
            self.entries, self.features, param_dtype=jnp.result_type(float), name="table"
        )
        training = self.has_rng("dropout")
        return nn.Dropout(self.dropout, deterministic=not training)(table(ids))
