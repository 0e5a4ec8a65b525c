"""JSON and TOML from files that may be damaged: whatever is wrong with them is a ValueError."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

_LARGEST_TOML = 1 << 20  # bytes; a config has a few thousand
_MANY_DOTS = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++\s*+\.\s*+){32}""")  # tomllib is quadratic
_TOO_DEEP = "objects or lists are nested too deeply"


def parse_json(text: str | bytes, where: object = None) -> Any:
    """Parse JSON.

    Args:
      text: a document; bytes are UTF-8, perhaps with a byte order mark.
      where: the file, with which the message begins; the line follows.

    Raises:
      ValueError: it is not JSON, or nested too deeply.
    """
    begin = "" if where is None else f"{where}: "
    try:
        return json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{begin}not UTF-8, which JSON is: {error}") from None
    except json.JSONDecodeError as error:
        begin = begin and f"{where}, line {error.lineno}: "
        raise ValueError(f"{begin}not JSON: {error.msg} at column {error.colno}") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"{begin}not JSON that can be read: {error}") from None
    except RecursionError:
        raise ValueError(f"{begin}not JSON that can be read: {_TOO_DEEP}") from None


def read_toml_file(path: Path) -> dict[str, Any]:
    """Read a TOML file, with or without a byte order mark.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not TOML, longer than any config, or nested too deeply.
    """
    with path.open("rb") as file:
        raw = file.read(_LARGEST_TOML + 1)
    try:
        if len(raw) > _LARGEST_TOML:
            raise ValueError(f"it has more than {_LARGEST_TOML} bytes")
        text = raw.decode("utf-8-sig")
        if _MANY_DOTS.search(text):
            raise ValueError(_TOO_DEEP)
        return tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is not TOML: {_TOO_DEEP}") from None
