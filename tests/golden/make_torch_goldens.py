"""Write the golden arrays of PyTorch's recurrent modules: needs torch, and is run by hand.

    python tests/golden/make_torch_goldens.py

Each file holds, in float64, a module's weights, its inputs, its outputs and the gradients of the
fixed cost Σ cos(k) v over outputs and last state.
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CASES = {
    "rnn_tanh": ("RNN", {"nonlinearity": "tanh"}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "deep_lstm": ("LSTM", {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    "deep_gru": ("GRU", {"num_layers": 2, "bidirectional": True}),
}


def run(module, xs, h0, c0) -> dict[str, np.ndarray]:
    """Everything that a module gives for `xs [T, B, D]` and a first state `[layers, B, H]`."""
    import torch

    inputs = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in {"xs": xs, "h0": h0, "c0": c0}.items()
        if name != "c0" or module.mode == "LSTM"
    }
    if module.mode == "LSTM":
        ys, (h, c) = module(inputs["xs"], (inputs["h0"], inputs["c0"]))
        outputs = {"ys": ys, "h": h, "c": c}
    else:
        ys, h = module(inputs["xs"], inputs["h0"])
        outputs = {"ys": ys, "h": h}
    cost = torch.zeros((), dtype=ys.dtype)
    for index, value in enumerate(outputs.values()):
        weights = np.cos(np.arange(value.numel()) + 1.3 * index).reshape(value.shape)
        cost = cost + (torch.tensor(weights, dtype=ys.dtype) * value).sum()
    module.zero_grad()
    cost.backward()
    arrays = inputs | outputs
    found = {name: value.detach().numpy().copy() for name, value in arrays.items()}
    found |= {f"grad_{name}": value.grad.numpy().copy() for name, value in inputs.items()}
    for name, weight in module.named_parameters():
        found[f"weight:{name}"] = weight.detach().numpy().copy()
        found[f"weight_grad:{name}"] = weight.grad.numpy().copy()
    return found


def make(kind: str, options: dict, seed: int, bias: bool = True) -> dict[str, np.ndarray]:
    import torch

    torch.manual_seed(seed)
    length, batch, features, hidden = 7, 3, 3, 4
    module = getattr(torch.nn, kind)(features, hidden, bias=bias, **options).double()
    rng = np.random.default_rng(seed)
    cells = module.num_layers * (1 + module.bidirectional)
    h0, c0 = rng.standard_normal((2, cells, batch, hidden))
    xs = rng.standard_normal((length, batch, features))
    return run(module, xs, h0[..., : module.proj_size or hidden], c0)


if __name__ == "__main__":
    for seed, (name, (kind, options)) in enumerate(CASES.items()):
        np.savez_compressed(HERE / f"torch_{name}.npz", **make(kind, options, seed))
