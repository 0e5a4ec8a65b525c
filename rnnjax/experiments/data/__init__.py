"""Data, without JAX: readers of files, synthetic data, splits, batches and counted baselines.

The subpackages `audio`, `captions`, `images`, `series` and `text` have more for their kind of data.
"""

from rnnjax.experiments.data._batching import (
    Padded,
    batches_by_length,
    bucket_sizes,
    bucketed_batches,
    pad,
    steps_per_epoch,
)
from rnnjax.experiments.data._digest import digest_arrays, digest_files
from rnnjax.experiments.data._storage import TokenStore, cached, store_tokens
from rnnjax.experiments.data._tables import read_rows
from rnnjax.experiments.data._text_files import Lines, open_lines, read_blocks, stripped_lines
from rnnjax.experiments.data.audio import (
    Recordings,
    log_mel,
    open_recordings,
    read_wav,
    synthetic_recordings,
    write_wav,
)
from rnnjax.experiments.data.captions import (
    open_captioned_pictures,
    picture,
    read_captions,
    synthetic_pictures,
)
from rnnjax.experiments.data.images import Digits, Images, digits, mnist, read_idx, read_image
from rnnjax.experiments.data.series import Column, mackey_glass, read_column
from rnnjax.experiments.data.text import (
    Vocabulary,
    download_reviews,
    learn_vocabulary,
    open_corpus,
    open_reviews,
)

__all__ = [
    "Column",
    "Digits",
    "Images",
    "Lines",
    "Padded",
    "Recordings",
    "TokenStore",
    "Vocabulary",
    "batches_by_length",
    "bucket_sizes",
    "bucketed_batches",
    "cached",
    "digest_arrays",
    "digest_files",
    "digits",
    "download_reviews",
    "learn_vocabulary",
    "log_mel",
    "mackey_glass",
    "mnist",
    "open_captioned_pictures",
    "open_corpus",
    "open_lines",
    "open_recordings",
    "open_reviews",
    "pad",
    "picture",
    "read_blocks",
    "read_captions",
    "read_column",
    "read_idx",
    "read_image",
    "read_rows",
    "read_wav",
    "steps_per_epoch",
    "store_tokens",
    "stripped_lines",
    "synthetic_pictures",
    "synthetic_recordings",
    "write_wav",
]
