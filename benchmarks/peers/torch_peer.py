"""PyTorch: `torch.nn.RNN`, `LSTM` and `GRU`, time first, with all of its own threads.

PyTorch's threads and XLA's share one process. Two rules keep that fair, and both were measured:

- PyTorch keeps its default wait policy, under which an OpenMP worker spins briefly after each
  parallel region before it sleeps. `OMP_WAIT_POLICY=PASSIVE`, which would free the cores at once,
  made PyTorch alone 1.7 to 6 times slower on two cores (LSTM at 128,32,128,256: forward 19 ->
  40 ms, train 78 -> 131; at 100,32,64,64: 2.1 -> 7.2 and 6.4 -> 36). ACTIVE was no faster.
- Every program starts after a pause (`benchmarks.timing.PAUSE`), in which the workers of the one
  before fall asleep. So paused, PyTorch took 18.5 and 74 ms in the first row and 2.1 and 6.2 ms
  in the second, between XLA's programs in one process, as it did in a process of its own.

It has as many threads as this process has cores. A forward pass runs in `inference_mode`. Where JAX
runs on an NVIDIA GPU it runs there too, by cuDNN, and rounds products to TF32 only if
`jax_default_matmul_precision` lets JAX do so.
"""

from importlib import import_module
from typing import Any

import jax
import numpy as np

from benchmarks.environment import cores
from benchmarks.problem import Pass, Problem, Unsupported
from benchmarks.program import Answer, Program, answer_of
from rnnjax.cells import GRUParams, LSTMParams, VanillaParams


def program(name: str, problem: Problem, which: Pass) -> Program:
    """PyTorch's program."""
    torch, device = _torch()
    module = _module(torch, problem).to(device)
    xs = torch.tensor(problem.xs, device=device, requires_grad=which == "train")
    weights = torch.tensor(problem.weights, device=device)
    net = _net(torch, module, problem)
    leaves = [xs, *module.parameters()]

    def forward() -> Any:
        with torch.inference_mode():
            return finished(net(xs))

    def train() -> Any:
        for leaf in leaves:
            leaf.grad = None
        loss = torch.vdot(weights.flatten(), net(xs).flatten())
        loss.backward()
        return finished(loss)

    def finished(output: Any) -> Any:
        if device == "cuda":
            torch.cuda.synchronize()
        return output

    def answer(output: Any) -> Answer:
        if which == "forward":
            return answer_of(problem, ys=output.cpu().numpy())
        xs_ct = xs.grad.cpu().numpy()
        return answer_of(problem, blocks=_gradients(module, problem), xs_ct=xs_ct)

    return Program(name, "torch", forward if which == "forward" else train, answer)


def _torch() -> tuple[Any, str]:
    torch: Any = import_module("torch")
    backend = jax.default_backend()
    if backend == "cpu":
        torch.set_num_threads(cores())
        return torch, "cpu"
    if backend != "gpu" or not torch.cuda.is_available():
        raise Unsupported(f"JAX runs on a {backend}, and this PyTorch does not")
    rounds = jax.config.values["jax_default_matmul_precision"] in (None, "tensorfloat32")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = rounds
    return torch, "cuda"


def _net(torch: Any, module: Any, problem: Problem) -> Any:
    if problem.lengths is None:
        return lambda xs: module(xs)[0]
    rnn = torch.nn.utils.rnn
    lengths = torch.tensor(problem.lengths, dtype=torch.int64)

    def ragged(xs: Any) -> Any:
        packed = rnn.pack_padded_sequence(xs, lengths)  # the longest first: nothing to sort
        return rnn.pad_packed_sequence(module(packed)[0], total_length=problem.size.T)[0]

    return ragged


def _suffixes(problem: Problem) -> tuple[str, ...]:
    both = {"layers2": ("l0", "l1"), "bidirectional": ("l0", "l0_reverse")}
    return both.get(problem.size.form, ("l0",))


def _module(torch: Any, problem: Problem) -> Any:
    size = problem.size
    make = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[problem.cell]
    module = make(
        size.I,
        size.H,
        num_layers=2 if size.form == "layers2" else 1,
        bidirectional=size.form == "bidirectional",
    )
    with torch.no_grad():
        for suffix, block in zip(_suffixes(problem), problem.blocks, strict=True):
            state_bias = np.zeros_like(block.b)
            if problem.cell == "gru":
                state_bias[2 * size.H :] = block.b_hn
            for field, value in (
                ("weight_ih", block.w_x.T),
                ("weight_hh", block.w_h.T),
                ("bias_ih", block.b),
                ("bias_hh", state_bias),
            ):
                getattr(module, f"{field}_{suffix}").copy_(torch.tensor(value))
    return module


def _gradients(module: Any, problem: Problem) -> tuple[Any, ...]:
    def one(suffix: str) -> Any:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_x, w_h, b, b_h = (getattr(module, f"{n}_{suffix}").grad.cpu().numpy() for n in names)
        if problem.cell == "gru":
            return GRUParams(w_x.T, w_h.T, b, b_h[2 * problem.size.H :])
        return (LSTMParams if problem.cell == "lstm" else VanillaParams)(w_x.T, w_h.T, b)

    return tuple(one(suffix) for suffix in _suffixes(problem))
