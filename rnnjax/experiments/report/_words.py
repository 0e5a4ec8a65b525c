"""Words in figures: names of runs and metrics as a reader expects them."""

import re
import textwrap
import warnings

from rnnjax._extras import optional
from rnnjax.experiments.report._style import LOOKS
from rnnjax.experiments.tasks import Metric

_HIGH = 26  # characters in one line of the label of a vertical axis
_TERMS = {"mse": "MSE", "rmse": "RMSE", "mae": "MAE", "r2": "R²"}
_CELLS = {
    "cifg": "CIFG LSTM",
    "ctrnn": "CTRNN",
    "conv_lstm": "ConvLSTM",
    "delta_net": "DeltaNet",
    "indrnn": "IndRNN",
    "lru": "LRU",
    "min_gru": "minGRU",
    "peephole_lstm": "peephole LSTM",
    "unicornn": "UnICORNN",
    "urnn": "uRNN",
}
_KNOWN = {
    "accuracy_long": "accuracy on longer strings",
    "exact": "exact matches",
    "wrong": "wrong answers",
}


def is_fraction(metric: Metric) -> bool:
    """Whether a metric is a fraction that is shown in percent."""
    return metric.name.startswith("accuracy") or metric.name.endswith("exact")


def metric_label(metric: Metric) -> str:
    """The name of a metric with its unit, for an axis: "accuracy at length 1,000 (%)"."""
    words = metric_words(metric.name)
    unit = "%" if is_fraction(metric) else plain_text(metric.unit)
    return f"{words} ({unit})" if unit and unit.split()[0] not in words.split() else words


def metric_words(name: str) -> str:
    """The name of a metric as a reader expects it: "MSE" for "mse"."""
    if name in _KNOWN:
        return _KNOWN[name]
    if found := re.fullmatch(r"accuracy_(\d+)", name):
        return f"accuracy at length {int(found[1]):,}"
    name = re.sub(r"bleu_(\d)", r"BLEU-\1", name)
    return " ".join(_TERMS.get(word, word) for word in plain_text(name.replace("_", " ")).split())


def axis_label(text: str) -> str:
    """The text with a capital first letter, in lines that are no longer than a panel is high."""
    return "\n".join(textwrap.wrap(text[:1].upper() + text[1:], _HIGH))


def cell_label(name: str) -> str:
    """A cell as a figure names it: "LSTM" for "lstm"."""
    return LOOKS[name].label if name in LOOKS else _CELLS.get(name, name)


def run_label(text: str) -> str:
    """A name for a legend: cells as figures name them, no underscores."""
    words = " ".join(_CELLS.get(text, text).replace("_", " ").split())
    return words or "(no name)"


def plain_text(text: str) -> str:
    """The text as it is: matplotlib takes what is between two dollars for a formula."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return shown.replace("$", r"\$")


def wrapped(text: str, width: float, size: float = 7.0) -> list[str]:
    """The text in lines of at most `width` inches; words that are longer are broken."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        while (wide := text_width(word, size)) > width and len(word) > 1:
            kept = min(max(1, int(len(word) * width / wide)), len(word) - 1)
            lines.append(word[:kept])
            word = word[kept:]
        lines.append(word)
    return lines


def text_width(text: str, size: float = 7.0, weight: str = "normal") -> float:
    """The width of one line of text in inches."""
    font = optional("matplotlib.font_manager").FontProperties(size=size, weight=weight)
    to_path = optional("matplotlib.textpath").text_to_path
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # told when drawn
        points = to_path.get_text_width_height_descent(plain_text(text), font, ismath=False)[0]
    return 1.02 * points / 72  # letters are placed on whole pixels
