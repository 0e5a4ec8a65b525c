"""Help in plain text: nothing is markup, formulas keep their lines, and it fits any terminal.

Code in backticks that names an option is printed as its flag, so that one text serves a docstring
and the help.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from rnnjax._names import spelled
from rnnjax.experiments.cli._printing import say_text

_WRONG_USE = 2
_NARROWEST, _WIDEST = 20, 100  # columns
_INDENT, _MOST_LEFT = 2, 30  # columns of a flag before its text
_TWO_COLUMNS = 60  # a narrower terminal gets each text below its flag
_CODE = re.compile(r"`([^`]+)`")
_FORMULA = 4  # spaces before a line that is printed as it is
_NO_BREAK = "\xa0"

Row = tuple[str, str]  # a flag or command, and its text


_UsageError: Any = typer.BadParameter.__base__


class Command(TyperCommand):
    """A command whose help is plain text, and whose errors speak of its flags."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; an error knows which command it is of."""
        with _errors_in(ctx):
            given, *_ = self.make_parser(ctx).parse_args(args=[*args])
            rest = super().parse_args(ctx, args)
            for param in self.params:
                text, value = given.get(param.name), ctx.params.get(param.name)
                if "" in _each(text) and Path() in _each(value):  # Path("") is the current folder
                    name = param.opts[0] if param.opts[0].startswith("-") else param.metavar
                    ctx.fail(f"{name} is empty: name a file or folder")
            return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the command."""
        formatter.write(help_of(self, ctx, get_terminal_size().columns))

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with spelled(flags_of(self)):
            return super().invoke(ctx)


class Group(TyperGroup):
    """A group of commands whose help is plain text, and is shown if no command is given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; an error knows which command it is of."""
        if not args:
            say_text(self.get_help(ctx).rstrip("\n"), err=True)
            raise typer.Exit(_WRONG_USE)
        with _errors_in(ctx):
            return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the group, with a line for each command."""
        rows = [(name, _flagged(text, {})) for name, text in self.summaries(ctx)]
        formatter.write(help_of(self, ctx, get_terminal_size().columns, rows))

    def summaries(self, ctx: Any) -> list[Row]:
        """A line on each command."""
        return [
            (name, command.get_short_help_str(200))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


@contextmanager
def _errors_in(ctx: Any) -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.ctx = error.ctx or ctx
        raise


def flags_of(command: Any) -> dict[str, str]:
    """The flag of each option of a command: argument name -> "--flag"."""
    return {param.name: param.opts[0] for param in command.params if param.opts[0].startswith("--")}


def help_of(command: Any, ctx: Any, width: int, commands: Iterable[Row] = ()) -> str:
    """The help of a command, wrapped to a width."""
    width = min(max(width, _NARROWEST), _WIDEST)
    flags = flags_of(command)
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    lines = textwrap.wrap(f"Usage: {usage}", width, subsequent_indent="  ")
    lines += ["", *description(command.help or "", width, flags)]
    sections = _sections(command, ctx, flags)
    if commands := list(commands):
        sections["Commands"] = commands
    longest = max(len(name) for rows in sections.values() for name, _ in rows)
    for title, rows in sections.items():
        lines += ["", f"{title}:", *_table(rows, width, min(longest, _MOST_LEFT) + 2 * _INDENT)]
    return "\n".join(lines).replace(_NO_BREAK, " ") + "\n"


def description(text: str, width: int, flags: Mapping[str, str]) -> list[str]:
    """A docstring wrapped to a width; lines that are indented by four are kept as they are."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if lines:
            lines.append("")
        for indent, item in _items(paragraph):
            lines += _wrapped(_flagged(item, flags), width, " " * indent, hang=2 * (indent > 0))
    return lines


def _items(paragraph: str) -> Iterator[tuple[int, str]]:
    """The formulas, list items and other text of a paragraph, each with its indentation."""
    first, text = -1, ""
    for line in paragraph.split("\n"):
        indent = len(line) - len(line.lstrip())
        formula = indent >= _FORMULA and (first < 0 or first >= _FORMULA)
        if first >= 0 and (formula or indent < first or (first == 0) != (indent == 0)):
            yield first, text
            first, text = -1, ""
        if formula:
            yield indent, line.strip()
            first = -1
            continue
        if first > 0 and indent == first:
            yield first, text
            first, text = -1, ""
        first, text = (indent, line.strip()) if first < 0 else (first, f"{text} {line.strip()}")
    if first >= 0:
        yield first, text


def _flagged(text: str, flags: Mapping[str, str]) -> str:
    return _CODE.sub(lambda code: flags.get(code[1], code[1]), text)


def _wrapped(text: str, width: int, indent: str, hang: int = 0) -> list[str]:
    """Lines of a text; wide spaces, as between formulas, stay or become line ends."""
    lines: list[str] = []
    for part in re.split(r" {2,}", text):
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f"   {part}"
            continue
        after = indent + " " * hang
        lines += textwrap.wrap(
            part,
            width,
            initial_indent=after if lines else indent,
            subsequent_indent=after,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _table(rows: Sequence[Row], width: int, left: int) -> list[str]:
    """Two columns, the first of `left`, or on a narrow terminal each text below its flag."""
    lines: list[str] = []
    for name, text in rows:
        if width < _TWO_COLUMNS:
            lines += _wrapped(name, width, " " * _INDENT, hang=2)
            lines += _wrapped(text, width, " " * (2 * _INDENT + 2))
            continue
        wrapped = textwrap.wrap(text, width - left, break_on_hyphens=False) or [""]
        start = " " * _INDENT + name
        if len(start) + _INDENT > left:
            lines.append(start)
            start = ""
        lines += [f"{start:{left}}{wrapped[0]}".rstrip()]
        lines += [" " * left + line for line in wrapped[1:]]
    return lines


def _sections(command: Any, ctx: Any, flags: Mapping[str, str]) -> dict[str, list[Row]]:
    """The arguments and options under their headings."""
    found: dict[str, list[Row]] = {}
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        is_option = param.opts[0].startswith("-")
        title = getattr(param, "rich_help_panel", None) or ("Options" if is_option else "Arguments")
        text = _flagged(getattr(param, "help", None) or "", flags)
        default = _default(param)
        if default:
            shown = f"[default: {default}]"
            text += f" {shown.replace(' ', _NO_BREAK) if len(shown) < _MOST_LEFT else shown}"
        found.setdefault(title, []).append((_name(param, is_option), text))
    options = found.pop("Options", None)
    return found if options is None else {**found, "Options": options}


def _name(param: Any, is_option: bool) -> str:
    if not is_option:
        return param.metavar or param.name.upper()
    names = [*sorted(param.opts, key=len), *param.secondary_opts]
    if getattr(param, "is_flag", False):
        return ", ".join(names)
    return f"{', '.join(names)} {param.metavar or 'VALUE'}"


def _default(param: Any) -> str | None:
    """What the help says of the default; None for nothing."""
    shown = getattr(param, "show_default", False)
    if isinstance(shown, str):
        return shown
    if not shown or param.default is None or param.required:
        return None
    if getattr(param, "is_flag", False):
        names = param.opts if param.default else param.secondary_opts
        return names[0] if names and param.secondary_opts else None
    return f"{param.default:g}" if isinstance(param.default, float) else str(param.default) or None
