"""The GRU's derivation, as in `rnnjax/cells/gated/_gru.py` with reset="after", and its diagram."""

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

_TO_BOTH = "δ_t ε_t dh_{t-1}⁺ dx_t"
_DIAGRAM = Diagram(
    size=(640, 480),
    body=(78, 44, 562, 416),
    wires=(
        Wire("10,84 151,84", "h_{t-1}", "h_t", "dz dh_{t-1}⁺"),
        Wire("181,84 455,84", "", "h_t", "dz dh_{t-1}⁺"),
        Wire("485,84 630,84", "h_t", "h_t", "dh_t dz dn"),
        Wire("530,84 530,8", "y_t", "y_t e_t C_t", "dy_t dh_t"),
        Wire("106,84 106,364 372,364 372,325", "h_{t-1}", "a_r a_z q", "dh_{t-1}⁺"),
        Wire("130,472 130,390 470,390 470,325", "x_t", "a_r a_z a_n", "dx_t"),
        Wire("156,364 156,325", "", "a_z", "dh_{t-1}⁺"),
        Wire("176,390 176,372 hop 176,356 176,325", "", "a_z", "dx_t"),
        Wire("260,364 260,325", "", "a_r", "dh_{t-1}⁺"),
        Wire("280,390 280,372 hop 280,356 280,325", "", "a_r", "dx_t"),
        Wire("166,295 166,279", "a_z", "z", "δ_z", "plain"),
        Wire("270,295 270,279", "a_r", "r", "δ_r", "plain"),
        Wire("166,245 166,99", "z", "h_t", "dz"),
        Wire("166,136 292,136", "z", "h_t", "dz"),
        Wire("344,136 455,136", "", "h_t", "dz"),
        Wire("270,245 270,236 357,236", "r", "a_n", "dr"),
        Wire("372,295 372,251", "q", "a_n", "dq"),
        Wire("387,236 455,236", "", "a_n", "dr dq"),
        Wire("470,295 470,251", "", "a_n", "dx_t"),
        Wire("470,221 470,200", "a_n", "n", "δ_n"),
        Wire("470,172 470,151", "n", "h_t", "dn"),
        Wire("470,121 470,99", "", "h_t", "dn dz"),
    ),
    nodes=(
        Node("op", (166, 84), "×", "h_t", "dz dh_{t-1}⁺"),
        Node("op", (470, 84), "+", "h_t", "dz dn dh_{t-1}⁺"),
        Node("op", (470, 136), "×", "h_t", "dn dz"),
        Node("act", (318, 136), "1−", "h_t", "dz"),
        Node("act", (470, 186), "tanh", "n", "δ_n"),
        Node("op", (372, 236), "×", "a_n", "dr dq"),
        Node("op", (470, 236), "+", "a_n", "δ_n dr dq dx_t"),
        Node("act", (166, 262), "σ", "z", "δ_z"),
        Node("act", (270, 262), "σ", "r", "δ_r"),
        Node("weights", (166, 310), "W_z", "a_z", _TO_BOTH),
        Node("weights", (270, 310), "W_r", "a_r", _TO_BOTH),
        Node("weights", (372, 310), "W_hn", "q", "ε_t dh_{t-1}⁺"),
        Node("weights", (470, 310), "W_xn", "a_n", "δ_t dx_t"),
    ),
    labels=(
        Label((40, 70), "h_{t-1}", "dh_{t-1}⁺"),
        Label((602, 70), "h_t", "dh_t⁺"),
        Label((508, 70), "", "dh_t", "middle", False),
        Label((540, 18), "y_t", "dy_t", "start"),
        Label((140, 448), "x_t", "dx_t", "start"),
        Label((176, 196), "z", "dz", "start"),
        Label((282, 207), "r", "dr", "start"),
        Label((380, 272), "q", "dq", "start"),
        Label((478, 216), "a_n", "δ_n", "start", False),
        Label((480, 168), "n", "dn", "start", False),
        Label((193, 292), "a_z", "δ_z", "start", False),
        Label((297, 292), "a_r", "δ_r", "start", False),
    ),
    dots=((106, 84), (530, 84), (156, 364), (260, 364), (176, 390), (280, 390), (166, 136)),
)

GRU = Illustration(
    title="GRU",
    form=("gru", "after"),
    about="The update gate `z` blends the old state with the candidate. Where it is near 1 the old "
    "state is kept, and the error goes straight back, `dh_t ⊙ z`, past all weights.",
    forward=(
        Line(
            "a_r = x_t W_xr + h_{t-1} W_hr + b_r",
            "Pre-activation of the reset gate.",
            "s_r, s_z, s_n =",
        ),
        Line(
            "r = σ(a_r)",
            "The reset gate: how much of the old state the candidate sees, between 0 and 1.",
            "r = jax",
        ),
        Line(
            "a_z = x_t W_xz + h_{t-1} W_hz + b_z",
            "Pre-activation of the update gate.",
            "s_r, s_z, s_n =",
        ),
        Line(
            "z = σ(a_z)",
            "The update gate: how much of the old state is kept, between 0 and 1.",
            "z = jax",
        ),
        Line("q = h_{t-1} W_hn + b_hn", "What the old state says to the candidate.", "recurrent ="),
        Line("a_n = x_t W_xn + b_n + r ⊙ q", "Pre-activation of the candidate.", "n = jnp.tanh("),
        Line("n = tanh(a_n)", "The candidate for the new state, between −1 and 1.", "n = jnp.tanh"),
        Line(
            "h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}",
            "The new hidden state: between candidate and old state, unit by unit.",
            "h =",
        ),
        *OUTPUT,
    ),
    backward=(
        *OUTPUT_BACK,
        Line(
            "dz = dh_t ⊙ (h_{t-1} − n)",
            "The update gate learns from the difference that it decides on.",
            "delta_z =",
        ),
        Line("dn = dh_t ⊙ (1 − z)", "To the candidate, as far as it was let in.", "delta_n ="),
        Line("δ_z = dz ⊙ z ⊙ (1 − z)", "Through σ, whose slope is σ(1 − σ).", "delta_z ="),
        Line("δ_n = dn ⊙ (1 − n²)", "Through tanh, whose slope is 1 − tanh².", "delta_n ="),
        Line("dr = δ_n ⊙ q", "A factor’s gradient is the error times the other one.", "delta_r ="),
        Line(
            "dq = δ_n ⊙ r", "The other factor; the reset gate can stop this path.", "return jnp.c"
        ),
        Line("δ_r = dr ⊙ r ⊙ (1 − r)", "Through σ, whose slope is σ(1 − σ).", "delta_r ="),
        Line(
            "δ_t = [δ_r, δ_z, δ_n]", "The errors at all pre-activations, side by side.", "delta ="
        ),
        Line(
            "ε_t = [δ_r, δ_z, dq]",
            "The errors at the recurrent product `h_{t-1} W_h`, side by side.",
            "return jnp.c",
        ),
        Line(
            "dh_{t-1}⁺ = dh_t ⊙ z + δ_r W_hrᵀ + δ_z W_hzᵀ + dq W_hnᵀ",
            "Back to step `t − 1`: straight through the update gate, and through the weights.",
            "return GRUCarry(direct",
        ),
        Line(
            "dx_t = δ_r W_xrᵀ + δ_z W_xzᵀ + δ_n W_xnᵀ",
            "To the input of this step, such as a layer below.",
            "return params_ct",
        ),
    ),
    sums=(
        SUMS[0],
        Line(
            "dW_h = Σ_t h_{t-1}ᵀ ε_t",
            "The recurrent weights meet the error behind the reset gate.",
            "params_ct =",
        ),
        SUMS[2],
        Line("db_hn = Σ_t dq", "This bias stands inside the reset gate.", "params_ct ="),
    ),
    symbols=OUTPUT_SYMBOLS
    | {
        "a_r": ("pre-activation of the reset gate", "H"),
        "r": ("reset gate", "H"),
        "a_z": ("pre-activation of the update gate", "H"),
        "z": ("update gate", "H"),
        "q": ("the candidate’s recurrent part", "H"),
        "a_n": ("pre-activation of the candidate", "H"),
        "n": ("candidate", "H"),
        "dr": ("`∂C/∂r`", "H"),
        "dz": ("`∂C/∂z`", "H"),
        "dn": ("`∂C/∂n`", "H"),
        "dq": ("`∂C/∂q`", "H"),
        "δ_r": ("`∂C/∂a_r`, the error at the pre-activation of the reset gate", "H"),
        "δ_z": ("`∂C/∂a_z`, the error at the pre-activation of the update gate", "H"),
        "δ_n": ("`∂C/∂a_n`, the error at the pre-activation of the candidate", "H"),
        "ε_t": ("`δ_r`, `δ_z`, `dq` side by side: the error at `h_{t-1} W_h`", "3H"),
        "b_hn": ("bias of the candidate inside the reset gate", "H"),
        "db_hn": ("`∂C/∂b_hn`", "H"),
    }
    | {
        name: (text.format(gate), shape)
        for k, gate in (("r", "reset gate"), ("z", "update gate"), ("n", "candidate"))
        for name, text, shape in (
            (f"W_x{k}", "input weights of the {}", "D × H"),
            (f"W_h{k}", "recurrent weights of the {}", "H × H"),
            (f"b_{k}", "bias of the {}", "H"),
        )
    }
    | sum_symbols(3, "rzn"),
    weights={
        "w_x": "W_xr W_xz W_xn",
        "w_h": "W_hr W_hz W_hn",
        "b": "b_r b_z b_n",
        "b_hn": "b_hn",
    },
    gradients={"w_x": "dW_x", "w_h": "dW_h", "b": "db", "b_hn": "db_hn"},
    carry={"h": "h"},
    tape={"gates": "r z n", "h_tm1": "h_{t-1}", "recurrent": "q"},
    delta="δ_r δ_z δ_n",
    diagram=_DIAGRAM,
)
