"""The LSTM's derivation, as in `rnnjax/cells/gated/_lstm.py`, and its diagram."""

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

GATES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"}


def gate_lines(gates: str) -> tuple[Line, ...]:
    """Pre-activation and activation of each gate."""
    lines: list[Line] = []
    for k in gates:
        act = "tanh" if k == "g" else "σ"
        text = f"z_{k} = x_t W_x{k} + h_{{t-1}} W_h{k} + b_{k}"
        lines.append(Line(text, f"Pre-activation of the {GATES[k]}.", "return affine("))
        lines.append(Line(f"{k} = {act}(z_{k})", _OPENS[k], _ACTIVATED[k]))
    return tuple(lines)


_OPENS = {
    "i": "The input gate: how much of the candidate is let in, between 0 and 1.",
    "f": "The forget gate: how much of the old cell state is kept, between 0 and 1.",
    "g": "The candidate: what could be written into the cell state, between −1 and 1.",
    "o": "The output gate: how much of the cell state is shown, between 0 and 1.",
}
_ACTIVATED = {"i": "i, f, o =", "f": "i, f, o =", "g": "g =", "o": "i, f, o ="}


def gate_symbols(gates: str) -> dict[str, tuple[str, str]]:
    """What the values of the gates are, forward and backward."""
    symbols: dict[str, tuple[str, str]] = {}
    for k in gates:
        name = GATES[k]
        symbols |= {
            f"z_{k}": (f"pre-activation of the {name}", "H"),
            k: (name, "H"),
            f"d{k}": (f"`∂C/∂{k}`", "H"),
            f"δ_{k}": (f"`∂C/∂z_{k}`, the error at the pre-activation of the {name}", "H"),
        }
    for k in gates:
        symbols |= {
            f"W_x{k}": (f"input weights of the {GATES[k]}", "D × H"),
            f"W_h{k}": (f"recurrent weights of the {GATES[k]}", "H × H"),
            f"b_{k}": (f"bias of the {GATES[k]}", "H"),
        }
    return symbols


def back_to_carry(gates: str) -> tuple[Line, ...]:
    """δ_t, and what it sends to h_{t-1} and to x_t."""
    to_h = " + ".join(f"δ_{k} W_h{k}ᵀ" for k in gates)
    to_x = " + ".join(f"δ_{k} W_x{k}ᵀ" for k in gates)
    delta = ", ".join(f"δ_{k}" for k in gates)
    return (
        Line(f"δ_t = [{delta}]", "The errors at all pre-activations, side by side.", "delta ="),
        Line(
            f"dh_{{t-1}}⁺ = {to_h}",
            "Back to step `t − 1` through the recurrent weights of every gate.",
            "return LSTMCarry(",
        ),
        Line(f"dx_t = {to_x}", "To the input of this step, such as a layer below.", "return para"),
    )


SUMS = (
    Line(
        "dW_x = Σ_t x_tᵀ δ_t",
        "Every copy of the weights in the unfolded net is the same `W`: their gradients add up.",
        "params_ct =",
    ),
    Line("dW_h = Σ_t h_{t-1}ᵀ δ_t", "Likewise, with what the weights multiplied.", "params_ct ="),
    Line("db = Σ_t δ_t", "The bias was multiplied by 1.", "params_ct ="),
)


def sum_symbols(count: int, gates: str = "") -> dict[str, tuple[str, str]]:
    """The errors side by side, and the gradients of the weights."""
    n = f"{count}H" if count > 1 else "H"
    side = f"{', '.join(f'`δ_{k}`' for k in gates)} side by side" if gates else "`∂C/∂z_t`"
    return {
        "δ_t": (side, n),
        "dW_x": ("`∂C/∂W_x`", f"D × {n}"),
        "dW_h": ("`∂C/∂W_h`", f"H × {n}"),
        "db": ("`∂C/∂b`", n),
    }


CELL_STATE = {
    "c_{t-1}": ("cell state of the step before", "H"),
    "c_t": ("cell state", "H"),
    "dc_t⁺": ("the part of `∂C/∂c_t` that comes back from step `t + 1`; 0 at the last step", "H"),
    "dc_t": ("`∂C/∂c_t`", "H"),
    "dc_{t-1}⁺": ("the part of `∂C/∂c_{t-1}` that goes back to step `t − 1`", "H"),
}
OUT_OF_CELL = (
    Line(
        "dc_t = dc_t⁺ + dh_t ⊙ o ⊙ (1 − tanh²(c_t))",
        "The cell state is read twice, by step `t + 1`, and through tanh by the hidden state. The "
        "slope of tanh is 1 − tanh².",
        "dc =",
    ),
    Line("di = dc_t ⊙ g", "A factor’s gradient is the error times the other factor.", "delta_i ="),
)
TO_GATES = {
    "i": Line("δ_i = di ⊙ i ⊙ (1 − i)", "Through σ, whose slope is σ(1 − σ).", "delta_i ="),
    "f": Line("δ_f = df ⊙ f ⊙ (1 − f)", "Through σ, whose slope is σ(1 − σ).", "delta_f ="),
    "g": Line("δ_g = dg ⊙ (1 − g²)", "Through tanh, whose slope is 1 − tanh².", "delta_g ="),
    "o": Line("δ_o = do ⊙ o ⊙ (1 − o)", "Through σ, whose slope is σ(1 − σ).", "delta_o ="),
}
DG = Line("dg = dc_t ⊙ i", "The candidate learns only as far as the input gate is open.", "delta_g")
DO = Line("do = dh_t ⊙ tanh(c_t)", "To the output gate.", "delta_o =")


def gate_wires(x: float, k: str) -> tuple[Wire, ...]:
    """From the bus of [x_t, h_{t-1}] up into a gate."""
    return (
        Wire(f"{x},348 {x},314", "", f"z_{k}", "dh_{t-1}⁺ dx_t"),
        Wire(f"{x},284 {x},268", f"z_{k}", k, f"δ_{k}", "plain"),
    )


def gate_nodes(x: float, k: str) -> tuple[Node, ...]:
    """A product with weights, and the activation above it."""
    act = "tanh" if k == "g" else "σ"
    return (
        Node("weights", (x, 299), f"W_{k}", f"z_{k}", "δ_t dh_{t-1}⁺ dx_t"),
        Node("act", (x, 251), act, k, f"δ_{k}"),
    )


def lstm_diagram(forget: bool) -> Diagram:
    """The classic diagram: the cell state runs along the top, the gates stand below it."""
    gates = {"f": 170.0} if forget else {}
    gates |= {"i": 258.0, "g": 342.0, "o": 432.0}
    bus = "z_i z_g z_o" + " z_f" * forget
    keep = "dc_{t-1}⁺"
    first = min(gates.values())
    old = (
        Wire("10,92 155,92", "c_{t-1}", "c_t", f"{keep}{' df' * forget}"),
        Wire("185,92 327,92", "", "c_t", f"{keep} df"),
        Wire("170,234 170,107", "f", "c_t", "df"),
    )
    wires = (
        *(old if forget else (Wire("10,92 327,92", "c_{t-1}", "c_t", keep),)),
        Wire("357,92 630,92", "c_t", "c_t", "dc_t"),
        Wire("258,234 258,168 327,168", "i", "c_t", "di"),
        Wire("342,234 342,183", "g", "c_t", "dg"),
        Wire("342,153 342,107", "", "c_t", "di dg"),
        Wire("494,92 494,128", "", "h_t", "dc_t"),
        Wire("494,156 494,187", "", "h_t", "dc_t do"),
        Wire("432,234 432,202 479,202", "o", "h_t", "do"),
        Wire("494,217 494,348 630,348", "h_t", "h_t", "dh_t do dc_t"),
        Wire("530,348 530,102 hop 530,82 530,8", "y_t", "y_t e_t C_t", "dy_t dh_t"),
        Wire(f"10,348 {first},348 432,348", "h_{t-1}", bus, "dh_{t-1}⁺", "plain"),
        Wire("118,452 118,348", "x_t", bus, "dx_t"),
        *(wire for k, x in gates.items() for wire in gate_wires(x, k)),
    )
    nodes = (
        *((Node("op", (170, 92), "×", "c_t", "df dc_{t-1}⁺"),) if forget else ()),
        Node("op", (342, 92), "+", "c_t", "dc_{t-1}⁺ di dg" + " df" * forget),
        Node("op", (342, 168), "×", "c_t", "di dg"),
        Node("act", (494, 142), "tanh", "h_t", "dc_t"),
        Node("op", (494, 202), "×", "h_t", "dc_t do"),
        *(node for k, x in gates.items() for node in gate_nodes(x, k)),
    )
    labels = (
        Label((40, 78), "c_{t-1}", "dc_{t-1}⁺"),
        Label((602, 78), "c_t", "dc_t⁺"),
        Label((418, 78), "", "dc_t"),
        Label((40, 334), "h_{t-1}", "dh_{t-1}⁺"),
        Label((602, 334), "h_t", "dh_t⁺"),
        Label((488, 330), "", "dh_t", "end"),
        Label((540, 18), "y_t", "dy_t", "start"),
        Label((128, 428), "x_t", "dx_t", "start"),
        *((Label((178, 190), "f", "df", "start"),) if forget else ()),
        Label((266, 196), "i", "di", "start"),
        Label((350, 206), "g", "dg", "start"),
        Label((472, 176), "o", "do", "end"),
        *(Label((x + 27, 282), f"z_{k}", f"δ_{k}", "start", False) for k, x in gates.items()),
    )
    dots = ((494, 92), (530, 348), (118, 348), *((x, 348) for x in gates.values() if x < 432))
    return Diagram((640, 460), (78, 44, 562, 392), wires, nodes, labels, dots)


LSTM = Illustration(
    title="LSTM",
    form="lstm",
    about="Along the cell state the error passes no weights and no activation: from "
    "`c_t` to `c_{t-1}` it is only multiplied by the forget gate. That path is why the LSTM learns "
    "over many steps.",
    forward=(
        *gate_lines("ifgo"),
        Line(
            "c_t = f ⊙ c_{t-1} + i ⊙ g",
            "The new cell state: what is kept of the old one, and what is written.",
            "c =",
        ),
        Line("h_t = o ⊙ tanh(c_t)", "The new hidden state: what the output gate shows.", "h ="),
        *OUTPUT,
    ),
    backward=(
        *OUTPUT_BACK,
        *OUT_OF_CELL,
        Line(
            "df = dc_t ⊙ c_{t-1}", "The forget gate learns from what it could erase.", "delta_f ="
        ),
        DG,
        DO,
        *(TO_GATES[k] for k in "ifgo"),
        *back_to_carry("ifgo"),
        Line(
            "dc_{t-1}⁺ = dc_t ⊙ f",
            "Back to step `t − 1` along the cell state: only the forget gate stands in the way.",
            "return LSTMCarry(",
        ),
    ),
    sums=SUMS,
    symbols=OUTPUT_SYMBOLS | CELL_STATE | gate_symbols("ifgo") | sum_symbols(4, "ifgo"),
    weights={
        field: " ".join(f"{stem}{k}" for k in "ifgo")
        for field, stem in (("w_x", "W_x"), ("w_h", "W_h"), ("b", "b_"))
    },
    gradients={"w_x": "dW_x", "w_h": "dW_h", "b": "db"},
    carry={"h": "h", "c": "c"},
    tape={"gates": "i f g o", "h_tm1": "h_{t-1}", "c_tm1": "c_{t-1}"},
    delta="δ_i δ_f δ_g δ_o",
    diagram=lstm_diagram(forget=True),
)
