"""Forecast a time series with a custom cell, and log its gradient flow during training.

    python examples/series.py [--csv FILE --column NAME] [--short]

Without a file the series is Mackey-Glass. `rnnjax train series` does the same.
"""

import argparse
from pathlib import Path

import rnnjax
from rnnjax.experiments.tasks import series
from rnnjax.experiments.training import Settings, fit, flow_callback


def cell(hidden):
    """Two LSTM layers, the second with zoneout and a residual connection; any `Cell` works."""
    regularized = rnnjax.zoneout(rnnjax.lstm(hidden), h=0.05, c=0.05)
    return rnnjax.stack(rnnjax.lstm(hidden), rnnjax.residual(regularized))


def main():
    """Train, compare with baseline forecasts, and forecast past the end of the series."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--csv", type=Path, help="a table with a column of numbers")
    parser.add_argument("--column", help="its name; default: the last numeric column")
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    size: dict = {"hidden": 4, "window": 16, "horizon": 4} if options.short else {}
    settings = Settings(steps=20, evaluate_every=20) if options.short else Settings()

    task = series(csv=options.csv, column=options.column, cell=cell, **size)
    every = 20 if options.short else 500
    result = fit(task, settings, callbacks=[flow_callback(every)])

    name = task.metric.name
    print(f"mean absolute error: {result.metrics[name]:.4f}")
    for baseline, value in task.baselines.items():
        print(f"  baseline {baseline}: {value:.4f}")
    for entry in result.history:
        if "callbacks" in entry:
            for layer in ("layer_1", "layer_2"):
                at = [
                    entry["callbacks"][f"{layer}/log10_gradient_norm_lag_{lag}"] for lag in (0, 8)
                ]
                change = f"is 10^{at[1] - at[0]:+.2f} of that at lag 0"
                print(f"step {entry['step']}: ‖∂C/∂s‖ of {layer} at lag 8 {change}")
    values = task.infer["forecast"](result.params, steps=5)
    print("next values:", " ".join(f"{value:.3f}" for value in values))


if __name__ == "__main__":
    main()
