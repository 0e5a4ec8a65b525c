"""The registry of tasks: what each is about, where it comes from and how it is judged."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from rnnjax.experiments.tasks._task import Task
from rnnjax.experiments.tasks.captions import caption
from rnnjax.experiments.tasks.forecasting import series
from rnnjax.experiments.tasks.images import sequential_digits, sequential_mnist
from rnnjax.experiments.tasks.spoken import speech
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
from rnnjax.experiments.tasks.text import language, sentiment


class TaskEntry(NamedTuple):
    make: Callable[..., Task]  # keyword-only options, each annotated with its help text
    summary: str  # one line
    kind: Literal["synthetic", "real"]
    source: str  # the paper or the data that it comes from
    metric: str = ""  # what it is judged by, in a few words


TASKS: dict[str, TaskEntry] = {
    "parity": TaskEntry(
        parity,
        "Parity of a bit string far longer than those in training",
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
        "Ten symbols, said again after a long pause",
        "synthetic",
        "Arjovsky et al. 2016",
        "cross-entropy, nats",
    ),
    "temporal_order": TaskEntry(
        temporal_order,
        "Order of two or three relevant symbols among many others",
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
        sine, "A sine wave, continued by itself", "synthetic", "made up", "root mean squared error"
    ),
    "lorenz": TaskEntry(
        lorenz,
        "The Lorenz system, continued by itself",
        "synthetic",
        "Lorenz 1963",
        "Lyapunov times until the forecast is off",
    ),
    "match_to_sample": TaskEntry(
        match_to_sample,
        "Is this the stimulus that was seen before the delay?",
        "synthetic",
        "Miller et al. 1996",
        "accuracy",
    ),
    "series": TaskEntry(
        series,
        "A column of a CSV file, forecast",
        "real",
        "any table; Mackey & Glass 1977 without",
        "mean absolute error",
    ),
    "digits": TaskEntry(
        sequential_digits,
        "Handwritten digits of 8 x 8, read pixel by pixel",
        "real",
        "UCI, Alpaydin & Kaynak 1998; comes with scikit-learn",
        "accuracy",
    ),
    "mnist": TaskEntry(
        sequential_mnist,
        "Handwritten digits of 28 x 28, read pixel by pixel",
        "real",
        "MNIST's four files in a folder (--data)",
        "accuracy",
    ),
    "speech": TaskEntry(
        speech,
        "Spoken digits, or strings of them, from WAV files",
        "real",
        "Jackson et al. 2018 or any such folder; made-up speakers without",
        "accuracy, or label error rate",
    ),
    "caption": TaskEntry(
        caption,
        "Pictures, and a sentence that says what is in each",
        "real",
        "Flickr8k's or COCO's layout; made-up pictures of two things without",
        "exact match of made-up pictures, or BLEU-4",
    ),
    "sentiment": TaskEntry(
        sentiment,
        "Is a review for or against?",
        "real",
        "rt-polarity (Pang & Lee 2005), IMDB, Yelp, or a folder or table of texts",
        "accuracy",
    ),
    "language": TaskEntry(
        language,
        "What comes next in a text, by characters or words",
        "real",
        "any text file; a folder of train, valid and test files such as the PTB's",
        "nats a character, or perplexity",
    ),
}
