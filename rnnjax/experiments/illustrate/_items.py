"""The lines of a derivation and the arrays that they compute, in HTML."""

from html import escape

from rnnjax.experiments.illustrate._content import Content
from rnnjax.experiments.illustrate._lines import Line
from rnnjax.experiments.illustrate._mathml import in_symbols, math, operator, symbol, with_math
from rnnjax.experiments.illustrate._notation import Blocks, names_in, spoken
from rnnjax.experiments.illustrate._put_in import Slot, entry_of, with_values
from rnnjax.experiments.illustrate._shown import Axis

_FROM_FORWARD = "Reads from the forward pass"


def array(page: Content, name: str) -> str:
    """All shown entries of an array, in HTML."""
    rows, columns = page.axes[name]
    if columns.blocks == 1 and rows.size == 1:
        cells = [
            f'<span class="n" {Slot(name, 0, k).attributes}></span>'
            for k in range(len(columns.indices))
        ]
        if columns.gap is not None:
            cells.insert(columns.gap, "<span>…</span>")
        return f'<span class="vector">[{" ".join(cells)}]</span>'
    return _table(page, name, rows, columns)


def _table(page: Content, name: str, rows: Axis, columns: Axis) -> str:
    gates = page.illustration.delta.replace("δ_", "").split() if columns.blocks > 1 else [""]
    if name == "ε_t" or (name == "dW_h" and "ε_t" in page.axes):
        gates = [*gates[:-1], "hn"]
    if rows.size == 1:  # a row for each block
        body = "".join(
            f'<tr><th scope="row">{gate}</th>{_cells(page, name, 0, columns, b)}</tr>'
            for b, gate in enumerate(gates)
        )
        return f'<table class="stacked"><tbody>{body}</tbody></table>'
    wide = len(columns.of_block) + (columns.gap is not None)
    head = "".join(f'<th scope="colgroup" colspan="{wide}">{g}</th>' for g in gates)
    body = ""
    for r, row in enumerate(rows.indices):
        if rows.gap == r:
            body += "<tr><th>⋮</th></tr>"
        cells = "".join(_cells(page, name, r, columns, b) for b in range(columns.blocks))
        body += f'<tr><th scope="row">{row + 1}</th>{cells}</tr>'
    top = f"<thead><tr><td></td>{head}</tr></thead>" if columns.blocks > 1 else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(spoken(name))}">'
        f"<table>{top}<tbody>{body}</tbody></table></div>"
    )


def _cells(page: Content, name: str, row: int, columns: Axis, block: int) -> str:
    """The shown entries of one block of a row."""
    count = len(columns.of_block)
    cells = [
        f'<td><span class="n" {Slot(name, row, block * count + k).attributes}></span></td>'
        for k in range(count)
    ]
    if columns.gap is not None:
        cells.insert(columns.gap, "<td>…</td>")
    return "".join(cells).replace("<td>", '<td class="first">', 1)


def item(page: Content, number: int, phase: str, line: Line) -> str:
    """A line of the derivation as an item of its list."""
    equation = line.equation
    pieces = "".join(math(piece) for piece in in_symbols(equation))
    values = with_values(equation, page.axes, page.steps)
    entry = entry_of(page.axes[line.name])
    at = Slot(line.name, entry.row, entry.column)
    scalar = not isinstance(equation.value, Blocks)
    result = operator("=") + at.mathml if scalar else ""
    written = "".join(math(piece) for piece in values)
    written += math(result) if result else ""
    return (
        f'<li id="line-{number}" class="line {phase}"><button type="button" '
        f'class="equation" data-go="{number}">{pieces}</button>'
        f'<p class="meaning">{with_math(line.meaning)}</p><div class="more">'
        f'<p class="which">{_which(page, line.name)}</p>'
        f'<div class="values">{math(symbol(line.name) + operator("="))}{written}</div>'
        f"{_whole(page, line.name)}{_reads(page, phase, line)}</div></li>"
    )


def _which(page: Content, name: str) -> str:
    rows, columns = page.axes[name]
    if columns.size * columns.blocks == 1:
        return "With values:"
    what = "feature" if columns.size == page.inputs != page.hidden else "unit"
    unit = f'{what} <span class="unit-number" data-of="{what}">1</span>'
    if columns.blocks > 1 and rows.size > 1:
        return f"With values, row 1, {unit} of the first block:"
    if columns.blocks > 1:
        return f"With values, {unit}:"
    return f"With values, {'row 1, ' * (rows.size > 1)}{unit}:"


def _whole(page: Content, name: str) -> str:
    if page.axes[name][1].size * page.axes[name][1].blocks == 1:
        return ""
    return (
        f'<div class="whole">{math(symbol(name) + operator("="))} {array(page, name)} '
        f'<span class="shape">{page.shape(name)}</span></div>'
    )


def _reads(page: Content, phase: str, line: Line) -> str:
    reads = names_in(line.equation.value)
    taped = " ".join(page.illustration.tape.values()).split()
    kept = [name for name in reads if name in page.forward_names]
    weights = [name for name in reads if name in page.run.weights]
    others = [name for name in reads if name not in (*kept, *weights)]
    lists = ""
    over = phase == "sums"
    for title, names in (
        ("Reads" if phase == "forward" else _FROM_FORWARD, kept),
        ("Reads from the backward pass", others),
        ("Reads the weights", weights),
    ):
        items = ""
        for name in names:
            value = "" if name in weights or over else f" {array(page, name)}"
            sign = operator("=") if value else ""
            note = ""
            if phase != "forward" and name in kept and name not in ("x_t", "e_t"):
                note = "on the tape" if name in taped else "recomputed from the tape"
                note = f' <span class="note">{note}</span>'
            items += (
                f'<li data-s="{escape(name)}">{math(symbol(name) + sign)}{value} '
                f'<span class="shape">{page.shape(name)}</span>{note}</li>'
            )
        if items:
            marked = ' class="kept"' if title == _FROM_FORWARD else ""
            lists += f"<h4{marked}>{title}</h4><ul>{items}</ul>"
    return f'<div class="reads">{lists}</div>'
