"""Train a character-level language model on any text, and sample from it.

    python examples/language.py --text FILE [--prompt "ROMEO:"] [--short]

`rnnjax train language --text FILE` and `rnnjax generate` do the same.
"""

import argparse
import random
import tempfile
from pathlib import Path

import jax

from rnnjax.experiments.tasks import language
from rnnjax.experiments.training import Settings, fit


def synthetic_text(folder):
    """Sentences of a grammar small enough for a small network."""
    draw = random.Random(0)
    nouns, verbs = ("dog", "cat", "child", "teacher"), ("sees", "hears", "likes")
    lines = (
        f"the {draw.choice(nouns)} {draw.choice(verbs)} the {draw.choice(nouns)}."
        for _ in range(2000)
    )
    path = Path(folder) / "text.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def main():
    """Train by truncated BPTT over the text, then generate from a prompt."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--text", type=Path, help="a text file; default: synthetic sentences")
    parser.add_argument("--prompt", default="the ", help="beginning of the generated text")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--short", action="store_true", help="a few steps, as a check")
    options = parser.parse_args()
    size: dict = {"cell": "gru"}
    settings = Settings()
    if options.short or options.text is None:
        size |= {"hidden": 32, "embedding": 8, "unroll_steps": 32, "batch_size": 16}
        settings = Settings(steps=60 if options.short else 600, learning_rate=2e-2)

    # The text is split into as many streams as the batch size. Each batch holds the next segment of
    # every stream, and the recurrent state is carried over: memory reaches further than gradients.
    with tempfile.TemporaryDirectory() as folder:
        task = language(text=options.text or synthetic_text(folder), **size)
        result = fit(task, settings)

    print(f"held-out nats per character: {result.metrics['nats_per_character']:.3f}")
    for name, value in task.baselines.items():
        print(f"  baseline {name}: {value:.3f}")
    key = jax.random.key(0)
    print(
        task.infer["generate"](
            result.params, options.prompt, 200, key=key, temperature=options.temperature
        )
    )


if __name__ == "__main__":
    main()
