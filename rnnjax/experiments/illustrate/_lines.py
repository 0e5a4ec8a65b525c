"""What an illustration consists of: the lines of a derivation, the symbols, and the diagram."""

from collections.abc import Hashable
from typing import NamedTuple

from rnnjax.experiments.illustrate._notation import Equation, parse


class Line(NamedTuple):
    """One equation."""

    text: str  # in the notation of `_notation`
    meaning: str  # what it does, in words; formulas stand in backticks, here and elsewhere
    code: str  # how the line of the rule that computes it begins: "delta_i ="

    @property
    def equation(self) -> Equation:
        return parse(self.text)

    @property
    def name(self) -> str:
        return self.equation.name


class Wire(NamedTuple):
    """A line of the diagram, drawn in the direction of the forward pass."""

    path: str  # corners "x,y x,y"; "hop" before a corner jumps over the wire that lies there
    carries: str = ""  # the name of the forward value on it
    forward: str = ""  # names of the forward lines that light it
    backward: str = ""  # names of the backward lines that light it, against its direction
    end: str = "arrow"  # or "plain"


class Node(NamedTuple):
    """A pointwise operation (a circle), an activation or a product with weights (a box)."""

    kind: str  # "op", "act" or "weights"
    at: tuple[float, float]
    text: str  # in an op a sign, else the notation of a name or a function
    forward: str = ""
    backward: str = ""


class Label(NamedTuple):
    """The name beside a wire, and the value of the chosen unit below it."""

    at: tuple[float, float]
    forward: str = ""
    backward: str = ""
    anchor: str = "middle"  # or "start", "end"
    value: bool = True


class Diagram(NamedTuple):
    size: tuple[float, float]
    body: tuple[float, float, float, float]  # left, top, right, bottom of the cell
    wires: tuple[Wire, ...]
    nodes: tuple[Node, ...]
    labels: tuple[Label, ...]
    dots: tuple[tuple[float, float], ...] = ()  # where a wire branches


class Illustration(NamedTuple):
    """The derivation of one cell, beside the names that its rule has for the same values."""

    title: str
    form: Hashable  # as in `Structure.form`
    about: str  # what to look for, a sentence or two
    forward: tuple[Line, ...]
    backward: tuple[Line, ...]
    sums: tuple[Line, ...]  # after the loop: the gradients of the weights
    symbols: dict[str, tuple[str, str]]  # name -> its meaning, its shape
    weights: dict[str, str]  # field of the params -> names of its blocks in the last axis
    gradients: dict[str, str]  # field of the params -> the name of its gradient
    carry: dict[str, str]  # field of the carry -> its letter
    tape: dict[str, str]  # field of the tape -> names of its blocks, in order
    delta: str  # names of the blocks of δ_t
    diagram: Diagram

    def steps(self) -> tuple[Line, ...]:
        """The lines of one time step, forward and backward."""
        return self.forward + self.backward


OUTPUT = (
    Line("y_t = h_t", "The output is the hidden state.", ""),
    Line("e_t = y_t − τ_t", "The error of the output against its target.", ""),
    Line("C_t = ½ e_t e_tᵀ", "This step’s part of the cost `C`.", ""),
)
OUTPUT_BACK = (
    Line("dy_t = e_t", "The cost’s slope at the output.", ""),
    Line(
        "dh_t = dh_t⁺ + dy_t",
        "The hidden state is read twice, by step `t + 1` and by the output: the errors add up.",
        "dh =",
    ),
)
OUTPUT_SYMBOLS = {
    "x_t": ("input", "D"),
    "h_{t-1}": ("hidden state of the step before", "H"),
    "h_t": ("hidden state", "H"),
    "y_t": ("output", "H"),
    "τ_t": ("target of the output", "H"),
    "e_t": ("error of the output", "H"),
    "C_t": ("cost of this step", "1"),
    "dy_t": ("`∂C/∂y_t`", "H"),
    "dh_t⁺": ("the part of `∂C/∂h_t` that comes back from step `t + 1`; 0 at the last step", "H"),
    "dh_t": ("`∂C/∂h_t`", "H"),
    "dh_{t-1}⁺": ("the part of `∂C/∂h_{t-1}` that goes back to step `t − 1`", "H"),
    "dx_t": ("`∂C/∂x_t`", "D"),
}
