"""The table of cells that every contract is held over. A new cell is one row.

What a row is held to, and how it is run:
- by its rule, by autodiff, and by the method that `auto()` chooses, with lengths and resets at once
  and with neither, against the Python loop of `loop.py`; by central differences; under `vmap`; in
  bfloat16; over no steps and no examples; in both directions of a layer; by RTRL; in `flow`.
  All this is traced as `jax.jit` does and run by NumPy (`by_numpy`), which is quick; bfloat16 is
  compiled by XLA.
- A row that is in `KINDS` too, one of each kind of state and structure, is compiled by XLA as well,
  in float32 too, and run backwards in time, twice differentiated, and under wrapping gradients.
- Gradients × methods (`gradients_table.py`) are run over a few rows: each pair of gradient and
  method, and with each the two directions in turn.
A new kind of state, structure or step is a name in `KINDS`; a cell of a known kind is not.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from rnnjax import Cell

T, B, D, H = 5, 6, 3, 4


class Row(NamedTuple):
    cell: Cell
    inputs: Any = D  # features, as `Cell.init` takes them
    random: bool = False  # has training-time randomness, asked for by a key
    true_gradient: bool = True  # False: gradients are cut on purpose
    learned: bool = False  # its initial carry is among its params
    noise: float = 0.3  # on the params; less where many of them add up


def with_doubled_output(step):
    def new_step(params, carry, x_t):
        carry, y_t = step(params, carry, x_t)
        return carry, 2 * y_t

    return new_step


def leaky(hidden: int) -> Cell:
    """A user's own cell: three functions, a dict of params, an array for a carry, no rule."""

    def init(key, input_size):
        keys = jax.random.split(key)
        return {
            "in": jax.random.normal(keys[0], (input_size, hidden)),
            "rec": 0.5 * jax.random.normal(keys[1], (hidden, hidden)),
            "leak": jnp.full((), 0.3),
        }

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, hidden), params["rec"].dtype)

    def step(params, h, x_t):
        new = jnp.sin(x_t @ params["in"] + h @ params["rec"])
        h = params["leak"] * h + (1 - params["leak"]) * new
        return h, h

    return Cell(init, initial_carry, step)


_stack_of_two = rnnjax.stack(rnnjax.lstm(3), rnnjax.gru(H))
_deep = rnnjax.stack(
    rnnjax.vanilla(H), rnnjax.residual(rnnjax.lstm_1997(H)), rnnjax.gru(2, reset="before")
)
_nested = rnnjax.stack(
    rnnjax.input_dropout(rnnjax.zoneout(rnnjax.lstm(H), h=0.1, c=0.3), 0.4),
    rnnjax.residual(rnnjax.recurrent_dropout(rnnjax.vanilla(H), 0.3)),
)

ROWS: dict[str, Row] = {
    "vanilla_tanh": Row(rnnjax.vanilla(H)),
    "irnn": Row(rnnjax.irnn(H)),  # relu
    "vanilla_sigmoid": Row(rnnjax.vanilla(H, "sigmoid")),
    "vanilla_identity": Row(rnnjax.vanilla(H, "identity")),
    "identity_rnn": Row(rnnjax.identity_rnn(H)),
    "lstm": Row(rnnjax.lstm(H)),
    "peephole_lstm": Row(rnnjax.peephole_lstm(H)),
    "cifg": Row(rnnjax.cifg(H)),
    "lstm_projected": Row(rnnjax.lstm_projected(H, 2)),
    "lstm_1997": Row(rnnjax.lstm_1997(H)),
    "lstm_1997_truncated": Row(
        rnnjax.lstm_1997(H, truncate=True, output_bias=-1.0), true_gradient=False
    ),
    "gru_after": Row(rnnjax.gru(H)),
    "gru_before": Row(rnnjax.gru(H, reset="before")),
    "mgu_zhou": Row(rnnjax.mgu(H)),
    "mgu_flax": Row(rnnjax.mgu(H, variant="flax")),
    "indrnn": Row(rnnjax.indrnn(H, "tanh")),
    "indrnn_identity": Row(rnnjax.indrnn(H, "identity")),
    "unicornn": Row(rnnjax.unicornn(H, dt=0.5, alpha=0.7)),
    "urnn": Row(rnnjax.urnn(H)),
    "ctrnn_current": Row(rnnjax.ctrnn(H, noise=0.2), inputs=(D, ()), random=True),
    "ctrnn_rate": Row(
        rnnjax.ctrnn(H, leak="rate", learn_tau=True, noise=0.2), inputs=(D, ()), random=True
    ),
    "conv_lstm": Row(rnnjax.conv_lstm(2, (3, 4)), inputs=(3, 4, 2), noise=0.1),
    "min_gru": Row(rnnjax.min_gru(H)),
    "min_gru_positive": Row(rnnjax.min_gru(H, "positive")),
    "lru": Row(rnnjax.lru(H)),
    "delta_net": Row(rnnjax.delta_net(H, 2, heads=2)),
    "stack_of_two": Row(_stack_of_two),
    "stack_of_three": Row(_deep),
    "residual": Row(rnnjax.residual(rnnjax.lstm(H)), inputs=H),
    "input_dropout": Row(rnnjax.input_dropout(rnnjax.gru(H), 0.4), random=True),
    "input_dropout_same_mask": Row(
        rnnjax.input_dropout(rnnjax.lstm(H), 0.4, same_mask=True), random=True
    ),
    "recurrent_dropout": Row(rnnjax.recurrent_dropout(rnnjax.lstm(H), 0.4), random=True),
    "zoneout_lstm": Row(rnnjax.zoneout(rnnjax.lstm(H), h=0.2, c=0.5), random=True),
    "zoneout_gru": Row(rnnjax.zoneout(rnnjax.gru(H), h=0.3), random=True),
    "nested": Row(_nested, random=True),
    "wrapped": Row(rnnjax.wrap(rnnjax.lstm(H), with_doubled_output)),
    "users_own": Row(leaky(H)),
    "stack_with_ctrnn": Row(rnnjax.stack(rnnjax.ctrnn(H), rnnjax.gru(2)), inputs=(D, ())),
    "stack_of_linear": Row(rnnjax.stack(rnnjax.lru(2), rnnjax.min_gru(H))),
    "learned_carry": Row(
        rnnjax.stack(rnnjax.learned_carry(rnnjax.lstm(3)), rnnjax.gru(H)), learned=True
    ),
    "stack_with_users_own": Row(rnnjax.stack(leaky(H), rnnjax.gru(2))),
}
# One row of each kind of state, of structure and of step: for contracts that are kept by what all
# cells share, such as second derivatives.
KINDS = [
    *("lstm", "lru", "conv_lstm", "delta_net", "ctrnn_rate", "stack_of_two", "stack_with_ctrnn"),
    *("input_dropout", "recurrent_dropout", "zoneout_lstm", "users_own", "wrapped"),
]
WITH_RULE = [name for name, row in ROWS.items() if row.cell.rule is not None]
RANDOM = [name for name, row in ROWS.items() if row.random]
# Every row in its evaluation form, and those that have one in their training form.
FORMS = [(name, False) for name in ROWS] + [(name, True) for name in RANDOM]
FORM_IDS = [f"{name}-training" if training else name for name, training in FORMS]
