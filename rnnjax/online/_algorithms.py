"""The algorithms: values to pass as `unroll(..., gradient=...)` and to `learner(cell, ...)`.

Their costs are for one example and one step: S is the size of the carry (2H in an LSTM), P the
number of params, G that of pre-activations (4H in an LSTM). BPTT has the time of two steps and the
memory of a tape that grows with T. Measured on two shared cores of a CPU in float32, D = 16, B = 4,
microseconds a step and MiB of temporaries:

                 params    bptt      rtrl          snap(1)    eprop      uoro       kf_rtrl
    vanilla(32)   1568    3, 0.2    283, 1.6        7, 0.1    10, 0.1    27, 0.1    23, 0.1
    lstm(32)      6272    8, 0.4   5004, 12.4     143, 0.6   212, 0.6    65, 0.3   146, 0.4
    lstm(64)     20736   15, 0.7  66250, 81.4     560, 2.1   553, 2.0   411, 0.8   838, 1.8

at T = 64. From there to T = 1024 the memory of bptt() for lstm(32) grows by 5.9 MiB, its tape, and
that of the others by 0.5 to 0.9: the outputs and their errors, which a `learner` does not keep.
"""

from dataclasses import dataclass, field
from typing import Any

from rnnjax._arrays import register_value
from rnnjax._checks import check_number, check_positive_int
from rnnjax._random import check_key, typed_key
from rnnjax._types import Array, Cell, known
from rnnjax.online._dense import Dense
from rnnjax.online._engine import Engine
from rnnjax.online._gradient import Online
from rnnjax.online._kronecker import Kronecker
from rnnjax.online._local import Local, is_unitwise
from rnnjax.online._rank_one import RankOne
from rnnjax.online._sparse import Sparse

_UNITWISE = (
    "needs a cell with a hand-derived rule that acts unit by unit but for its recurrent weights, "
    "and says so in Structure(mixing=...): vanilla, lstm, peephole_lstm, gru(reset='after'), "
    "ctrnn, indrnn, min_gru. For others, stacks and wrapped cells among them, use "
    "rnnjax.online.rtrl(), snap(n) or uoro(key)"
)


@dataclass(frozen=True, repr=False)
class RTRL(Online):
    """The value made by `rtrl()`."""

    name: str = field(default="rtrl", init=False)
    exact_carry = True

    def engine(self, cell: Cell) -> Engine:
        return Dense()


def rtrl() -> Online:
    """Real-time recurrent learning: the exact gradient, forwards in time.

        M_t = ∂s_t/∂θ = J_t M_{t-1} + I_t,   J_t = ∂s_t/∂s_{t-1},   I_t = ∂s_t/∂θ at fixed s_{t-1}
        ∂C_t/∂θ = ∂C_t/∂s_t M_t

    Equal to `bptt()` up to rounding, for any cell, in memory that does not grow with T: S P numbers
    for each example, and S² P multiplications a step, S²/2 times those of BPTT. For a dense net of
    H units these are H³ and H⁴. A cell that acts unit by unit (`Structure.mixing`) gives I_t by its
    rule, as one entry for each parameter and state of its unit; others by autodiff, as a second
    matrix of S P numbers.

    In `unroll` it differentiates with respect to params and to the initial carry. The gradient with
    respect to xs is refused: it depends on later steps. Forward mode is refused as in `bptt()`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3)
      >>> params, xs = cell.init(jax.random.key(0), 2), jnp.ones((5, 2))
      >>> def cost(params, gradient):
      ...     return rnnjax.unroll(cell, params, xs, gradient=gradient)[1].sum()
      >>> online = jax.grad(cost)(params, rnnjax.online.rtrl())
      >>> bool(jnp.allclose(online.w_h, jax.grad(cost)(params, rnnjax.bptt()).w_h, atol=1e-5))
      True

    References:
      Williams & Zipser (1989), A learning algorithm for continually running fully recurrent neural
      networks, Neural Computation 1.
    """
    return RTRL()


@dataclass(frozen=True, repr=False)
class SnAp(Online):
    """The value made by `snap(n)`."""

    n: int
    name: str = field(default="snap", init=False)

    def engine(self, cell: Cell) -> Engine:
        if is_unitwise(cell) and (self.n == 1 or not known(cell).mixing):
            return Local(own_weights=True)
        return Sparse(self.n)


def snap(n: int = 1) -> Online:
    """The sparse n-step approximation of RTRL (SnAp-n): influence that takes longer is dropped.

        M_t = (J_t M_{t-1} + I_t) ⊙ pattern_n

    pattern_n is 1 where a parameter reaches a unit of the state within n steps, whatever the values
    of the weights; a carry that is made of params is the first of them. Entries in one place of
    named fields of one shape are one unit, as h and c of an LSTM are, in a stack and wrapped too;
    any other entry is a unit by itself. What is reached is found by derivatives at random points,
    where all that `jnp.where`, an index, `lax.cond`, `jnp.maximum` and the like may choose counts.

    For a cell that acts unit by unit (`Structure.mixing`: vanilla, lstm, gru(reset="after"), …)
    SnAp-1 keeps the influence of each parameter on all states of its own unit, through the unit's
    recurrent weights to itself: L P numbers and L² P multiplications a step, L the number of leaves
    of the carry (2 in an LSTM), and about 2 + L steps of the cell. Where units do not see each
    other (indrnn, min_gru) this is RTRL.

    Everywhere else only the entries of the pattern are kept, up to three times over: params that
    reach the same K rows are one block with K numbers for each, moved by K² multiplications a step,
    and blocks of similar sizes are filled up to the largest. J_t and I_t come from as few backward
    steps as their own patterns allow. That pays where the net itself is sparse, as by a mask in
    `wrap`: with 3 of 64 units read by each, SnAp-2 of a vanilla net took 0.4 ms a step and 1.6 MiB,
    RTRL 10 ms and 22 MiB (D = 16, B = 4). In a dense net n = 2 reaches everything and is RTRL, at
    its cost; in `gru(reset="before")` the params of r reach all units in one step.

    In `unroll` it differentiates with respect to params alone.

    Args:
      n: steps.

    Raises:
      TypeError, ValueError: n is not a positive int.

    References:
      Menick, Elsen, Evci, Osindero, Simonyan & Graves (2021), Practical real time recurrent
      learning with a sparse approximation, ICLR.
    """
    return SnAp(check_positive_int("n", n))


@dataclass(frozen=True, repr=False)
class RFLO(Online):
    """The value made by `rflo()`."""

    name: str = field(default="rflo", init=False)

    def refusal(self, cell: Cell) -> str | None:
        if is_unitwise(cell) and _leaks(known(cell).form):
            return None
        return _of_layers("rflo", cell) or (
            "rflo() is defined for cells whose units leak, ctrnn and fixed_dt(ctrnn), and "
            f"{cell!r} is none: what it keeps is the leak. rnnjax.online.eprop() keeps the memory "
            "within a unit of other cells, rnnjax.online.snap(1) the recurrent weight to itself too"
        )

    def engine(self, cell: Cell) -> Engine:
        return Local(own_weights=False)


def rflo() -> Online:
    """Random feedback local online learning (RFLO): influence that decays with the unit's leak.

        B_t = (1 - α) B_{t-1} + α φ'(I_t) â_t,   ∂h_t/∂W ≈ B_t           ctrnn(leak="rate")

    The recurrent weights are left out of the recursion, not out of the net. One number for each
    parameter: memory P, and P multiplications a step. At α = 1 it is the gradient of one step. With
    leak="current", where I_t is outside φ, B_t = (1 - α) B_{t-1} + α â_t.

    The random feedback of its name is in the readout: `readout_with_feedback`. In `unroll` it
    differentiates with respect to params alone.

    Raises:
      ValueError: (in `unroll` and `learner`) a cell without a leak.

    References:
      Murray (2019), Local online learning in recurrent networks with random feedback, eLife 8.
    """
    return RFLO()


@dataclass(frozen=True, repr=False)
class EProp(Online):
    """The value made by `eprop()`."""

    kappa: float = field(default=0.0, kw_only=True)
    name: str = field(default="eprop", init=False)

    def refusal(self, cell: Cell) -> str | None:
        return None if is_unitwise(cell) else _of_layers("eprop", cell) or f"eprop() {_UNITWISE}"

    def engine(self, cell: Cell) -> Engine:
        return Local(own_weights=False, kappa=self.kappa)


def eprop(*, kappa: float = 0.0) -> Online:
    """Eligibility propagation (e-prop): influence through the memory within each unit alone.

        ε_t = ∂s_t/∂s_{t-1}|within the unit ε_{t-1} + I_t,   ∂C/∂θ ≈ Σ_t ∂C_t/∂h_t ∂h_t/∂s_t ε_t

    What a unit sends through recurrent weights, to others and to itself, is taken as given. For an
    LSTM the trace decays by the forget gate, for a GRU by z, for a ctrnn by its leak (where it is
    `rflo()`); a vanilla unit has no memory of its own, which leaves the gradient of one step.
    Memory and time as `snap(1)`.

    The error ∂C_t/∂h_t is what the readout sends back: symmetric feedback with any readout, random
    or adaptive feedback with `readout_with_feedback`. A readout that leaks,

        o_t = κ o_{t-1} + h_t W,   ∂C/∂θ ≈ Σ_t ∂C_t/∂o_t Wᵀ Σ_{s≤t} κ^{t-s} ∂h_s/∂s_s ε_s

    needs the past of the trace too. Along a stream, give its κ: the trace is filtered, and the
    error of each step is passed as if the readout had no memory, ∂C_t/∂o_t Wᵀ. In `unroll`, where
    autodiff of the readout sends each error back to the steps it comes from, leave κ at 0.

    Defined for one recurrent layer. A stack is refused: its lower layers act on memory that is not
    their own, which `snap(1)` keeps. In `unroll` it differentiates with respect to params alone.

    Args:
      kappa: κ, the decay of the readout's memory in one step: exp(-Δt/τ_out). Twice the memory.

    Raises:
      TypeError: kappa is no number.
      ValueError: kappa outside [0, 1); (in `unroll` and `learner`) a cell that does not act
        unit by unit.

    References:
      Bellec, Scherr, Subramoney, Hajek, Salaj, Legenstein & Maass (2020), A solution to the
      learning dilemma for recurrent networks of spiking neurons, Nature Communications 11.
    """
    if not 0.0 <= check_number("kappa", kappa) < 1.0:
        raise ValueError(f"kappa must lie in [0, 1): a decay in one step, got {kappa}")
    return EProp(kappa=float(kappa))


@dataclass(frozen=True, repr=False)
class UORO(Online):
    """The value made by `uoro(key)`."""

    key: Any
    name: str = field(default="uoro", init=False)
    exact_carry = True

    def engine(self, cell: Cell) -> Engine:
        return RankOne()


def uoro(key: Array) -> Online:
    """Unbiased online recurrent optimisation (UORO): a random influence matrix of rank one.

        s̃_t = ρ₀ J_t s̃_{t-1} + ρ₁ ν_t,   θ̃_t = θ̃_{t-1} / ρ₀ + ν_tᵀ I_t / ρ₁,   E[s̃_t θ̃_tᵀ] = M_t

    ν_t are random signs, ρ₀ and ρ₁ balance the norms. The gradient is that of `rtrl()` on average
    over keys, for any cell, with a variance that grows with S: S + P numbers, and the time of a
    step, its jvp and its vjp.

    In `unroll` it differentiates with respect to params and to the initial carry.

    Args:
      key: PRNG key of the signs; it may be traced. Take a new one for every gradient, or the error
        is the same each time.

    Raises:
      TypeError: key is no PRNG key.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(3)
      >>> params, xs = cell.init(jax.random.key(0), 2), jax.numpy.ones((5, 2))
      >>> def cost(params, key):
      ...     noisy = rnnjax.online.uoro(key)
      ...     return rnnjax.unroll(cell, params, xs, gradient=noisy)[1].sum()
      >>> keys = jax.random.split(jax.random.key(1), 10)
      >>> jax.vmap(jax.grad(cost), (None, 0))(params, keys).w_h.shape
      (10, 3, 9)

    References:
      Tallec & Ollivier (2018), Unbiased online recurrent optimization, ICLR.
    """
    return UORO(typed_key(check_key(key)))


@dataclass(frozen=True, repr=False)
class KFRTRL(Online):
    """The value made by `kf_rtrl(key)`."""

    key: Any
    name: str = field(default="kf_rtrl", init=False)

    def refusal(self, cell: Cell) -> str | None:
        if is_unitwise(cell) and _is_one_product(known(cell).form):
            return None
        return _of_layers("kf_rtrl", cell) or (
            "kf_rtrl() needs a cell whose params enter as one product [h_{t-1}; x_t; 1] W, so that "
            "their immediate influence is a Kronecker product: vanilla, lstm, lstm_1997 and ctrnn "
            f"with a fixed tau. {cell!r} is none of them: use rnnjax.online.uoro(key), which is "
            "unbiased for any cell"
        )

    def engine(self, cell: Cell) -> Engine:
        return Kronecker()


def kf_rtrl(key: Array) -> Online:
    """Kronecker-factored RTRL: a random influence matrix u_t ⊗ A_t, unbiased.

        u_t = c₁ p₁ u_{t-1} + c₂ p₂ â_t,   A_t = c₁ J_t A_{t-1} / p₁ + c₂ D_t / p₂

    for z_t = â_t W with â_t = [h_{t-1}; x_t; 1], where the immediate influence is â_t ⊗ D_t,
    D_t = ∂s_t/∂z_t. c₁ and c₂ are random signs, p₁ and p₂ balance the norms. Much less variance
    than `uoro`, at S G numbers and S² G multiplications a step.

    In `unroll` it differentiates with respect to params alone.

    Args:
      key: PRNG key of the signs, as for `uoro`.

    Raises:
      TypeError: key is no PRNG key.
      ValueError: (in `unroll` and `learner`) a cell without this form.

    References:
      Mujika, Meier & Steger (2018), Approximating real-time recurrent learning with random
      Kronecker factors, NeurIPS.
    """
    return KFRTRL(typed_key(check_key(key)))


for _random in (UORO, KFRTRL):
    register_value(_random, ("key",))


def _of_layers(name: str, cell: Cell) -> str | None:
    """Why an algorithm of one layer is refused for several; None for what is no stack."""
    if not known(cell).layers:
        return None
    return (
        f"{name}() is defined for one recurrent layer, and {cell!r} has layers: what a unit does "
        "to the layers above it, at once and later through their memory, is in no part of its "
        "influence. Use rnnjax.online.snap(1), which keeps it, rtrl() or uoro(key), for all layers "
        "as one state"
    )


def _leaks(form: Any) -> bool:
    """Whether a textbook form has leaky units, at equal or unequal steps."""
    kind = form[0] if isinstance(form, tuple) else form
    return kind == "ctrnn" or (kind == "fixed_dt" and _leaks(form[1]))


def _is_one_product(form: Any) -> bool:
    if not isinstance(form, tuple):
        return form in ("lstm", "lstm_1997")
    if form[0] == "fixed_dt":
        return _is_one_product(form[1])
    return form[0] == "vanilla" or (form[0] == "ctrnn" and form[3] is not None)
