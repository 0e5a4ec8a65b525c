"""Cells of a table as numbers: decimal mark, thousands, percent, and missing values."""

import math
import re
from collections.abc import Callable
from typing import Any

from rnnjax._arguments import check_flag
from rnnjax._names import option

MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
LARGEST = 1e150  # the square of a larger number overflows
# A number written another way: decimal comma, thousands, percent, currency.
_NEARLY = re.compile(r"[\s+\-$€£]*\d[\d.,'\s]*[\s%$€£]*")
_SPACES = {0x00A0: " ", 0x202F: " "}  # no-break spaces
_ALREADY_MEANT = set('0123456789+-eE%"')


def is_missing(cell: Any) -> bool:
    """Whether a cell stands for a missing value: empty, NA, NaN, null, none or ?."""
    return cell is None or str(cell).strip().lower() in MISSING


def is_nearly_a_number(cell: Any) -> bool:
    """Whether a cell looks like a number that is written another way, such as 2,5 or 12 %."""
    return _NEARLY.fullmatch(str(cell)) is not None


def number_reader(decimal: str, thousands: str | None, percent: bool) -> Callable[[Any], float]:
    """A function from a cell that is not missing to its number; ValueError if it is none.

    Args:
      decimal: the decimal mark, one character.
      thousands: what separates groups of three digits, one character; None for nothing.
      percent: whether each cell ends in %; 12.5 % is 12.5.
    """
    _check_marks(decimal, thousands)
    check_flag("percent", percent)
    if decimal == "." and thousands is None and not percent:
        return _plain
    groups = re.compile(rf"[+-]?\d{{1,3}}(?:{re.escape(thousands or ',')}\d{{2,3}})*")
    example = f"{'1' + thousands + '234' if thousands else '3'}{decimal}14{' %' if percent else ''}"

    def number(cell: Any) -> float:
        if not isinstance(cell, str):
            return _plain(cell)
        text = cell.strip()
        if thousands == " ":
            text = text.translate(_SPACES)
        if percent:
            if not text.endswith("%"):
                raise _unexpected(cell, example)
            text = text[:-1].rstrip()
        whole, point, rest = text.partition(decimal)
        if thousands and thousands in whole:
            if not groups.fullmatch(whole) or len(whole.rpartition(thousands)[2]) != 3:
                raise _unexpected(cell, example)
            whole = whole.replace(thousands, "")
        if decimal != "." and "." in text and thousands != ".":
            raise _unexpected(cell, example)
        try:
            return _plain(f"{whole}.{rest}" if point else whole)
        except ValueError:
            raise _unexpected(cell, example) from None

    return number


def _check_marks(decimal: str, thousands: str | None) -> None:
    for name, mark in (("decimal", decimal), ("thousands", thousands)):
        if mark is not None and (len(mark) != 1 or mark in _ALREADY_MEANT):
            raise ValueError(f"{option(name)} must be one character such as ',', got {mark!r}")
    if decimal == thousands:
        raise ValueError(
            f"{option('decimal')} and {option('thousands')} must differ, got {decimal!r} for both"
        )


def _plain(cell: Any) -> float:
    try:
        value = float(cell)
    except (ValueError, TypeError):
        raise _unexpected(cell, "3.14") from None
    except OverflowError:  # of an int
        value = math.inf
    if isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell):
        raise _unexpected(cell, "3.14")
    if -LARGEST < value < LARGEST:
        return value
    if isinstance(cell, str) and not any(map(str.isdigit, cell)):
        raise ValueError(f"expected a finite number, got {_shown(cell)}")
    raise ValueError(f"expected a number below {LARGEST:g} in size, got {_shown(cell)}")


def _unexpected(cell: Any, example: str) -> ValueError:
    return ValueError(f"expected a number such as {example}, got {_shown(cell)}{other_marks(cell)}")


def other_marks(cell: Any) -> str:
    """How to say that numbers are written another way, if a cell looks like it."""
    if not isinstance(cell, str) or not is_nearly_a_number(cell):
        return ""
    text = cell.strip()
    marks = [*_marks(text.rstrip("% ")), *([option("percent", True)] if text.endswith("%") else [])]
    return f"; {' and '.join(marks)} would read it" if marks else ""


def _marks(text: str) -> list[str]:
    comma, point = text.rfind(","), text.rfind(".")
    if comma < 0:
        return []
    if point > comma or text.count(",") > 1:
        return [option("thousands", ",")]
    if point >= 0:
        return [option("decimal", ","), option("thousands", ".")]
    either = f" or {option('thousands', ',')}" if len(text) - comma - 1 == 3 else ""
    return [f"{option('decimal', ',')}{either}"]


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else f"{text[:39]}…"
