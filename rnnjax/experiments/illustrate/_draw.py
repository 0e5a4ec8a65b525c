"""The diagrams as SVG: one cell, and the net unfolded in time."""

from html import escape

from rnnjax.experiments.illustrate._content import NORM
from rnnjax.experiments.illustrate._lines import Diagram, Illustration, Label, Node, Wire
from rnnjax.experiments.illustrate._mathml import parts_of
from rnnjax.experiments.illustrate._put_in import UNIT, Slot

_CORNER = 10.0  # radius
_HOP = 10.0


def svg_symbol(key: str) -> str:
    """A name in SVG text."""
    d, letter, index, plus = parts_of(key)
    text = f'<tspan class="d">{d}</tspan>' if d else ""
    text += f'<tspan class="it">{letter}</tspan>'
    if index:
        style = "it" if not any(c.isdigit() for c in index) else "mix"
        sub = "".join(f'<tspan class="it">{c}</tspan>' if c.isalpha() else c for c in index)
        text += f'<tspan class="sub {style}" dy="0.28em">{sub}</tspan>'
    if plus:
        text += f'<tspan class="sub" dy="{"-0.75em" if index else "-0.4em"}">+</tspan>'
    return text


def _path(wire: Wire) -> str:
    """A wire as path data: corners are rounded, hops are arcs."""
    points: list[tuple[float, float, bool]] = []
    hop = False
    for word in wire.path.split():
        if word == "hop":
            hop = True
            continue
        x, y = map(float, word.split(","))
        points.append((x, y, hop))
        hop = False
    (x, y, _), *rest = points
    data = f"M{x:g} {y:g}"
    for place, (x, y, over) in enumerate(rest, 1):
        if over:
            data += f"A{_HOP:g} {_HOP:g} 0 0 1 {x:g} {y:g}"
            continue
        after = points[place + 1] if place + 1 < len(points) else None
        before = points[place - 1]
        if after is None or after[2] or _straight(before, (x, y), after):
            data += f"L{x:g} {y:g}"
            continue
        (ax, ay), (bx, by) = _towards((x, y), before), _towards((x, y), after)
        data += f"L{ax:g} {ay:g}Q{x:g} {y:g} {bx:g} {by:g}"
    return data


def _straight(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> bool:
    return (a[0] == b[0] == c[0]) or (a[1] == b[1] == c[1])


def _towards(corner: tuple[float, float], other: tuple[float, ...]) -> tuple[float, float]:
    """The point at the corner's radius on the way to another."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    return corner[0] + _CORNER * dx / length, corner[1] + _CORNER * dy / length


def _lit_by(forward: str, backward: str) -> str:
    return f'data-f="{escape(forward)}" data-b="{escape(backward)}"'


def _wire(wire: Wire) -> str:
    carries = f' data-carries="{escape(wire.carries)}"' if wire.carries else ""
    return (
        f'<path class="wire {wire.end}" {_lit_by(wire.forward, wire.backward)}{carries} '
        f'd="{_path(wire)}"/>'
    )


def _node(node: Node) -> str:
    x, y = node.at
    if node.kind == "op":
        shape = f'<circle cx="{x:g}" cy="{y:g}" r="15"/>'
        text = node.text
    else:
        width, height = (52, 30) if node.kind == "weights" else (52, 34 if node.text == "σ" else 28)
        corner = 3 if node.kind == "weights" else 14
        shape = (
            f'<rect x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width}" '
            f'height="{height}" rx="{corner}"/>'
        )
        text = svg_symbol(node.text) if node.kind == "weights" else node.text
    dy = {"op": 7, "weights": 4}.get(node.kind, 6)
    return (
        f'<g class="node {node.kind}" {_lit_by(node.forward, node.backward)}>{shape}'
        f'<text x="{x:g}" y="{y + dy:g}" text-anchor="middle">{text}</text></g>'
    )


def _label(label: Label) -> str:
    x, y = label.at
    below = 32 if label.anchor == "middle" else 17  # across the wire, or beside it
    made = ""
    for phase, key in (("forward", label.forward), ("backward", label.backward)):
        if not key:
            continue
        slot = Slot(key, 0, UNIT).attributes
        value = f'<text class="val" x="{x:g}" y="{y + below:g}" {slot}></text>' * label.value
        made += (
            f'<g class="of-{phase}" data-s="{escape(key)}"><text x="{x:g}" y="{y:g}">'
            f"{svg_symbol(key)}</text>{value}</g>"
        )
    return f'<g class="label" text-anchor="{label.anchor}">{made}</g>'


_MARKERS = "".join(
    f'<marker id="{name}" viewBox="0 0 10 10" refX="{ref}" refY="5" markerWidth="{size}" '
    f'markerHeight="{size}" orient="auto-start-reverse" markerUnits="userSpaceOnUse">'
    f'<path class="{name}" d="M0 0.8L10 5L0 9.2z"/></marker>'
    for name, size, ref in (("arrow-plain", 10, 9), ("arrow-now", 14, 9), ("arrow-back", 14, 9))
)


def draw_cell(illustration: Illustration) -> str:
    """The cell's diagram."""
    diagram: Diagram = illustration.diagram
    width, height = diagram.size
    left, top, right, bottom = diagram.body
    wires = "".join(_wire(wire) for wire in diagram.wires)
    nodes = "".join(_node(node) for node in diagram.nodes)
    labels = "".join(_label(label) for label in diagram.labels)
    dots = "".join(f'<circle class="dot" cx="{x:g}" cy="{y:g}" r="3.5"/>' for x, y in diagram.dots)
    return (
        f'<svg id="cell" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="cell-title cell-about"><title id="cell-title">One time step of the '
        f'{escape(illustration.title)}</title><desc id="cell-about">The diagram lights up what '
        "the current equation computes; the equation beside it says the same.</desc>"
        f"<defs>{_MARKERS}</defs>"
        f'<rect class="body" x="{left:g}" y="{top:g}" width="{right - left:g}" '
        f'height="{bottom - top:g}" rx="22"/>{wires}{dots}{nodes}{labels}</svg>'
    )


def draw_unfolded(illustration: Illustration, steps: int) -> str:
    """The unfolded net: a copy of the cell for every step."""
    letters = list(reversed(illustration.carry.values()))  # c above h
    stacked = steps > 5  # a number below its name, where there is no room beside it
    top = 58 if stacked else 42
    copies = "".join(_copy(t, 640 / steps, letters, top, stacked) for t in range(steps))
    return (
        f'<svg id="unfolded" viewBox="0 0 640 {top + (136 if stacked else 116)}" role="img" '
        'aria-labelledby="unfolded-title">'
        f'<title id="unfolded-title">The net unfolded over {steps} steps, joined by '
        f"{' and '.join(letters)}; above each step its part of the cost, below it the size of the "
        f"error that has come back to it.</title>{copies}</svg>"
    )


def _copy(t: int, pitch: float, letters: list[str], top: int, stacked: bool) -> str:
    """One copy: its box begins at height `top` and is 58 high."""
    x, half = (t + 0.5) * pitch, min(46.0, pitch * 0.3)
    left = x - half
    before = left - pitch + 2 * half + 2 if t else 2.0
    levels = ((16, 10), (40, 56)) if len(letters) == 2 else ((28, 22),)  # of wires and names
    joined = ""
    for letter, (wire, name) in zip(letters, levels, strict=True):
        joined += f'<path class="wire arrow" d="M{before:g} {top + wire}H{left - 2:g}"/>'
        if t:
            joined += _text("small it", x - pitch / 2, top + name, letter)
    number = f'<tspan class="sub" dy="0.28em">{t + 1}</tspan><tspan dy="-0.2em">'
    cost = f'<tspan class="it">C</tspan>{number} </tspan>'
    error = f'‖<tspan class="d">d</tspan><tspan class="it">h</tspan>{number}‖ </tspan>'
    above, below = (14, top + 104) if stacked else (16, top + 106)
    return (
        f'<g class="copy" data-copy="{t}">{joined}'
        f'<path class="wire arrow" d="M{x:g} {top + 80}v-20"/>'
        f'<path class="wire arrow" d="M{x:g} {top - 2}v-16"/>'
        f'<rect x="{left:g}" y="{top}" width="{2 * half:g}" height="58" rx="10"/>'
        + _text("", x, top + 35, f'<tspan class="it">t</tspan> = {t + 1}')
        + _numbered("", x, above, cost, Slot("C_t", 0, 0, t), stacked, "after-forward")
        + _numbered("after-backward", x, below, error, Slot(NORM, 0, 0, t), stacked)
        + "</g>"
    )


def _text(kind: str, x: float, y: float, content: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="middle">{content}</text>'


def _numbered(
    kind: str, x: float, y: float, name: str, slot: Slot, stacked: bool, of_number: str = ""
) -> str:
    """A name, and its number beside or below it."""
    below = f' x="{x:g}" dy="1.15em"' if stacked else ""
    number = f'<tspan class="num {of_number}"{below} {slot.attributes}></tspan>'
    return _text(f"small {kind}", x, y, name + number)
