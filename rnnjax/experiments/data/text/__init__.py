"""Text: vocabularies, running text for language models, labelled reviews, counted baselines."""

from rnnjax.experiments.data.text._corpus import END, Corpus, encode_text, open_corpus
from rnnjax.experiments.data.text._folds import Split, dev_split, fold_split
from rnnjax.experiments.data.text._naive_bayes import naive_bayes
from rnnjax.experiments.data.text._ngrams import longest_context, witten_bell
from rnnjax.experiments.data.text._review_data import (
    ReviewBatch,
    ReviewData,
    ReviewReader,
    prepare_reviews,
)
from rnnjax.experiments.data.text._reviews import (
    Reviews,
    ReviewSource,
    download_reviews,
    open_reviews,
)
from rnnjax.experiments.data.text._streams import (
    HeldOutWindow,
    StreamBatch,
    held_out_windows,
    streams,
)
from rnnjax.experiments.data.text._vocabulary import Vocabulary, learn_vocabulary
from rnnjax.experiments.data.text._words import Words, character_ngrams, distinct_words

__all__ = [
    "END",
    "Corpus",
    "HeldOutWindow",
    "ReviewBatch",
    "ReviewData",
    "ReviewReader",
    "ReviewSource",
    "Reviews",
    "Split",
    "StreamBatch",
    "Vocabulary",
    "Words",
    "character_ngrams",
    "dev_split",
    "distinct_words",
    "download_reviews",
    "encode_text",
    "fold_split",
    "held_out_windows",
    "learn_vocabulary",
    "longest_context",
    "naive_bayes",
    "open_corpus",
    "open_reviews",
    "prepare_reviews",
    "streams",
    "witten_bell",
]
