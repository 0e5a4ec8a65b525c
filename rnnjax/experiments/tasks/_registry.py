"""The registry of tasks: factory, summary, source and metric of each."""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from rnnjax.experiments.tasks import _recipes as recipes
from rnnjax.experiments.tasks._task import Model, Recipe, Task
from rnnjax.experiments.tasks.captions import caption, restore_caption
from rnnjax.experiments.tasks.forecasting import restore_series, series
from rnnjax.experiments.tasks.images import (
    restore_images,
    sequential_digits,
    sequential_mnist,
)
from rnnjax.experiments.tasks.spoken import restore_speech, speech
from rnnjax.experiments.tasks.synthetic import (
    adding,
    copying,
    counting,
    delayed_xor,
    dyck,
    lorenz,
    match_to_sample,
    parity,
    sine,
    temporal_order,
)
from rnnjax.experiments.tasks.text import (
    language,
    restore_language,
    restore_sentiment,
    sentiment,
)


class TaskEntry(NamedTuple):
    make: Callable[..., Task]  # keyword-only options, each annotated with its help text
    summary: str  # one line
    kind: Literal["synthetic", "real"]
    source: str  # the paper or data set that it comes from
    metric: str = ""  # in a few words
    restore: Callable[..., Model] | None = None  # (Task.data, **options) -> Model, without the data
    recipe: Recipe | None = None  # None: that of `make()`, which reads no data
    varies: Mapping[str, str] = {}  # fields of the recipe that depend on options or data


TASKS: dict[str, TaskEntry] = {
    "parity": TaskEntry(
        parity,
        "Parity of bit strings far longer than those in training",
        "synthetic",
        "Bengio et al. 1994",
        "accuracy on strings of 1,000",
    ),
    "adding": TaskEntry(
        adding,
        "Sum of two marked numbers in a long sequence",
        "synthetic",
        "Hochreiter & Schmidhuber 1997, Le et al. 2015",
        "mean squared error",
    ),
    "copying": TaskEntry(
        copying,
        "Recall ten symbols after a long delay",
        "synthetic",
        "Arjovsky et al. 2016",
        "cross-entropy, nats",
    ),
    "temporal_order": TaskEntry(
        temporal_order,
        "Temporal order of two or three relevant symbols among distractors",
        "synthetic",
        "Hochreiter & Schmidhuber 1997, Pascanu et al. 2013",
        "accuracy",
    ),
    "delayed_xor": TaskEntry(
        delayed_xor,
        "Exclusive or of two marked bits",
        "synthetic",
        "Martens & Sutskever 2011",
        "accuracy",
    ),
    "dyck": TaskEntry(
        dyck,
        "Which brackets may come next in a balanced string",
        "synthetic",
        "Suzgun et al. 2019",
        "accuracy on longer strings",
    ),
    "counting": TaskEntry(
        counting,
        "Which symbols may come next in aⁿbⁿ or aⁿbⁿcⁿ",
        "synthetic",
        "Gers & Schmidhuber 2001",
        "accuracy",
    ),
    "sine": TaskEntry(
        sine,
        "Closed-loop forecast of a sine wave",
        "synthetic",
        "random periods and phases",
        "root mean squared error",
    ),
    "lorenz": TaskEntry(
        lorenz,
        "Closed-loop forecast of the Lorenz system",
        "synthetic",
        "Lorenz 1963",
        "valid time of the forecast, in Lyapunov times",
    ),
    "match_to_sample": TaskEntry(
        match_to_sample,
        "Delayed match to sample: is this the stimulus seen before the delay?",
        "synthetic",
        "Miller et al. 1996",
        "accuracy",
    ),
    "series": TaskEntry(
        series,
        "Forecast a column of a CSV file",
        "real",
        "any table; by default Mackey & Glass 1977",
        "mean absolute error",
        restore_series,
        recipe=recipes.SERIES,
    ),
    "digits": TaskEntry(
        sequential_digits,
        "Classify handwritten digits of 8 x 8, pixel by pixel",
        "real",
        "UCI, Alpaydin & Kaynak 1998; ships with scikit-learn",
        "accuracy",
        restore_images,
        recipe=recipes.DIGITS,
    ),
    "mnist": TaskEntry(
        sequential_mnist,
        "Classify handwritten digits of 28 x 28, pixel by pixel",
        "real",
        "MNIST's four files in a folder (--data)",
        "accuracy",
        restore_images,
        recipe=recipes.MNIST,
    ),
    "speech": TaskEntry(
        speech,
        "Recognise spoken words, or strings of them, from WAV files",
        "real",
        "Jackson et al. 2018 or any such folder; by default synthetic speakers",
        "accuracy, or label error rate",
        restore_speech,
        recipe=recipes.WORDS,
        varies=recipes.OF_SPEECH,
    ),
    "caption": TaskEntry(
        caption,
        "Describe a picture in a sentence",
        "real",
        "Flickr8k's or COCO's layout; by default synthetic pictures",
        "exact match on synthetic pictures, or BLEU-4",
        restore_caption,
        recipe=recipes.CAPTION,
    ),
    "sentiment": TaskEntry(
        sentiment,
        "Classify a review as positive or negative",
        "real",
        "rt-polarity (Pang & Lee 2005), IMDB, Yelp, or a folder or table of texts",
        "accuracy",
        restore_sentiment,
        recipe=recipes.SENTIMENT,
        varies=recipes.OF_SENTIMENT,
    ),
    "language": TaskEntry(
        language,
        "Language modelling, by characters or words",
        "real",
        "any text file; a folder of train, valid and test files such as the PTB's",
        "nats per character, or perplexity",
        restore_language,
        recipe=recipes.LANGUAGE,
    ),
}
"""The tasks that `rnnjax train` knows, by name."""
