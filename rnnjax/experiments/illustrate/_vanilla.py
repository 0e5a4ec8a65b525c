"""The vanilla cell's derivation, as in `rnnjax/cells/simple/_vanilla.py`, and its diagram."""

from rnnjax.experiments.illustrate._lines import (
    OUTPUT,
    OUTPUT_BACK,
    OUTPUT_SYMBOLS,
    Diagram,
    Illustration,
    Label,
    Line,
    Node,
    Wire,
)
from rnnjax.experiments.illustrate._lstm import SUMS, sum_symbols

_DIAGRAM = Diagram(
    size=(640, 330),
    body=(78, 74, 562, 262),
    wires=(
        Wire("10,190 230,190", "h_{t-1}", "z_t", "dh_{t-1}⁺"),
        Wire("160,322 160,190", "x_t", "z_t", "dx_t"),
        Wire("282,190 352,190", "z_t", "h_t", "δ_t"),
        Wire("408,190 630,190", "h_t", "h_t", "dh_t δ_t"),
        Wire("490,190 490,8", "y_t", "y_t e_t C_t", "dy_t dh_t"),
    ),
    nodes=(
        Node("weights", (256, 190), "W", "z_t", "dh_{t-1}⁺ dx_t"),
        Node("act", (380, 190), "tanh", "h_t", "δ_t"),
    ),
    labels=(
        Label((40, 176), "h_{t-1}", "dh_{t-1}⁺"),
        Label((170, 298), "x_t", "dx_t", "start"),
        Label((317, 176), "z_t", "δ_t"),
        Label((448, 176), "", "dh_t"),
        Label((602, 176), "h_t", "dh_t⁺"),
        Label((500, 18), "y_t", "dy_t", "start"),
    ),
    dots=((160, 190), (490, 190)),
)

VANILLA = Illustration(
    title="vanilla cell",
    form=("vanilla", "tanh"),
    about="From `h_t` to `h_{t-1}` the error passes the slope of tanh, at most 1, and the "
    "recurrent weights, at every step: over many steps it vanishes or explodes.",
    forward=(
        Line("z_t = x_t W_x + h_{t-1} W_h + b", "The pre-activation.", "h = phi.apply("),
        Line("h_t = tanh(z_t)", "The new hidden state, between −1 and 1.", "h = phi.apply("),
        *OUTPUT,
    ),
    backward=(
        *OUTPUT_BACK,
        Line("δ_t = dh_t ⊙ (1 − h_t²)", "Through tanh, whose slope is 1 − tanh².", "delta ="),
        Line(
            "dh_{t-1}⁺ = δ_t W_hᵀ",
            "Back to step `t − 1` through the recurrent weights.",
            "return VanillaCarry(delta",
        ),
        Line("dx_t = δ_t W_xᵀ", "To the input of this step, such as a layer below.", "return para"),
    ),
    sums=SUMS,
    symbols=OUTPUT_SYMBOLS
    | {
        "z_t": ("pre-activation", "H"),
        "W_x": ("input weights", "D × H"),
        "W_h": ("recurrent weights", "H × H"),
        "b": ("bias", "H"),
    }
    | sum_symbols(1),
    weights={"w_x": "W_x", "w_h": "W_h", "b": "b"},
    gradients={"w_x": "dW_x", "w_h": "dW_h", "b": "db"},
    carry={"h": "h"},
    tape={"h": "h_t", "h_tm1": "h_{t-1}"},
    delta="δ_t",
    diagram=_DIAGRAM,
)


def _as_relu(line: Line) -> Line:
    """The line with ReLU in the place of tanh."""
    return _RELU.get(line.name, line)


_RELU = {
    "h_t": Line(
        "h_t = relu(z_t)",
        "The new hidden state, the larger of 0 and `z_t`: where it is 0 the unit is inactive.",
        "h = phi.apply(",
    ),
    "δ_t": Line(
        "δ_t = dh_t ⊙ relu′(h_t)",
        "Through ReLU, whose slope is 1 where the unit is active, `h_t` above 0, and else 0.",
        "delta =",
    ),
}

IRNN = VANILLA._replace(
    title="IRNN, the vanilla cell with ReLU",
    form=("vanilla", "relu"),
    about="The error passes an active unit unchanged and stops at an inactive one. With the "
    "identity as recurrent weights, as where an IRNN starts, it keeps its size over many steps.",
    forward=tuple(map(_as_relu, VANILLA.forward)),
    backward=tuple(map(_as_relu, VANILLA.backward)),
    diagram=_DIAGRAM._replace(
        nodes=(_DIAGRAM.nodes[0], _DIAGRAM.nodes[1]._replace(text="relu")),
    ),
)
