"""The derivation of the LSTM of 1997, as in `rnnjax/cells/gated/_lstm_1997.py`."""

from rnnjax.experiments.illustrate._lines import (
    OUTPUT,
    OUTPUT_BACK,
    OUTPUT_SYMBOLS,
    Illustration,
    Line,
)
from rnnjax.experiments.illustrate._lstm import (
    CELL_STATE,
    DG,
    DO,
    OUT_OF_CELL,
    SUMS,
    TO_GATES,
    back_to_carry,
    gate_lines,
    gate_symbols,
    lstm_diagram,
    sum_symbols,
)

_FORWARD = tuple(
    line._replace(code=line.code.replace("i, f, o", "i, o")) for line in gate_lines("igo")
)

LSTM_1997 = Illustration(
    title="LSTM of 1997",
    form="lstm_1997",
    about="There is no forget gate yet: along the cell state the error goes back unchanged, "
    "`dc_{t-1}⁺ = dc_t`. Hochreiter and Schmidhuber called this the constant error carousel.",
    forward=(
        *_FORWARD,
        Line(
            "c_t = c_{t-1} + i ⊙ g",
            "The new cell state: all of the old one, and what is written.",
            "c =",
        ),
        Line("h_t = o ⊙ tanh(c_t)", "The new hidden state: what the output gate shows.", "h ="),
        *OUTPUT,
    ),
    backward=(
        *OUTPUT_BACK,
        *OUT_OF_CELL,
        DG,
        DO,
        *(TO_GATES[k] for k in "igo"),
        *back_to_carry("igo"),
        Line(
            "dc_{t-1}⁺ = dc_t",
            "Back to step `t − 1` along the cell state: nothing is lost.",
            "return LSTMCarry(",
        ),
    ),
    sums=SUMS,
    symbols=OUTPUT_SYMBOLS | CELL_STATE | gate_symbols("igo") | sum_symbols(3, "igo"),
    weights={
        field: " ".join(f"{stem}{k}" for k in "igo")
        for field, stem in (("w_x", "W_x"), ("w_h", "W_h"), ("b", "b_"))
    },
    gradients={"w_x": "dW_x", "w_h": "dW_h", "b": "db"},
    carry={"h": "h", "c": "c"},
    tape={"gates": "i g o", "h_tm1": "h_{t-1}", "tanh_c": "tanh(c_t)"},
    delta="δ_i δ_g δ_o",
    diagram=lstm_diagram(forget=False),
)
