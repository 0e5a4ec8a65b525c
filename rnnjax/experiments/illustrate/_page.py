"""One self-contained HTML page from an illustration and its values."""

import json
import re
from html import escape
from importlib.resources import files
from string import Template

from rnnjax._version import __version__
from rnnjax.experiments.illustrate._content import PHASES, Content
from rnnjax.experiments.illustrate._draw import draw_cell, draw_unfolded
from rnnjax.experiments.illustrate._items import item
from rnnjax.experiments.illustrate._mathml import math, symbol, with_math
from rnnjax.experiments.illustrate._put_in import Slot
from rnnjax.experiments.illustrate._shown import Axis, printed
from rnnjax.experiments.illustrate._source import Listing
from rnnjax.experiments.illustrate._verify import Agreement


def render(page: Content, agreement: Agreement) -> str:
    """The page as HTML; nothing in it is loaded from elsewhere."""
    folder = files("rnnjax.experiments.illustrate")
    parts = {name: folder.joinpath(f"page.{name}").read_text("utf-8") for name in ("css", "js")}
    template = Template(folder.joinpath("page.html").read_text("utf-8"))
    numbered = list(enumerate(page.lines))
    lists = {
        phase: "".join(item(page, n, p, line) for n, (p, line) in numbered if p == phase)
        for phase in PHASES
    }
    illustration = page.illustration
    text = template.substitute(
        parts,
        title=escape(illustration.title),
        about=with_math(illustration.about),
        cell=escape(str(page.cell)),
        made_from=escape(page.made_from),
        T=page.steps,
        D=page.inputs,
        H=page.hidden,
        units="".join(
            f'<option value="{n}">{k + 1}</option>'
            for n, k in enumerate(Axis(page.hidden).of_block)
        ),
        unfolded=draw_unfolded(illustration, page.steps),
        diagram=draw_cell(illustration),
        **lists,
        symbols=_symbols(page),
        code=_code(page.listing),
        path=escape(page.listing.path),
        agreement=_agreement(agreement),
        version=escape(__version__),
        data=json.dumps(page.data(), ensure_ascii=False).replace("<", "\\u003c"),
    )
    return _filled(page, text)


def _symbols(page: Content) -> str:
    return "".join(
        f'<tr><th scope="row">{math(symbol(name))}</th><td>{with_math(meaning)}</td>'
        f"<td>{escape(stated)}</td><td>{page.shape(name)}</td></tr>"
        for name, (meaning, stated) in page.illustration.symbols.items()
    )


def _code(listing: Listing) -> str:
    return "".join(
        f'<span class="source" data-n="{n}">{escape(line)}\n</span>'
        for n, line in enumerate(listing.lines)
    )


_CHECKS = {
    "step": "outputs and carries of cell.step",
    "tape": "what rule.forward saves",
    "backward": "δ and the carry’s gradients by rule.backward",
    "gradients": "gradients of weights and inputs by rule.gradients",
    "autodiff": "all gradients by jax.grad of the step, without the rule",
}


def _agreement(agreement: Agreement) -> str:
    return "".join(
        f"<tr><td>{_CHECKS[name]}</td><td>{printed(difference)}</td></tr>"
        for name, difference in agreement._asdict().items()
    )


_SLOT = re.compile(
    r'data-v="([^"]*)" data-r="(\w+)" data-c="(\w+)"(?: data-t="(\d+)")?( data-p="")?(>)(?=</)'
)


def _filled(page: Content, text: str) -> str:
    """The page as it stands before its script runs: at the first step, for the first unit."""

    def number(found: re.Match[str]) -> str:
        key, row, column, step, guarded, _ = found.groups()
        slot = Slot(key, _place(row), _place(column), None if step is None else int(step))
        value = page.value(slot)
        text = printed(value)
        return found[0] + (f"({text})" if guarded and value < 0 else text)

    return _SLOT.sub(number, text)


def _place(text: str) -> int | str:
    return int(text) if text.isdigit() else text
