"""A character-level language model of any text, and a page written by it.

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


def made_up_text(folder):
    """Sentences of a grammar so small that a small net learns it."""
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
    """Train by truncated BPTT over the text, then let the net write."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--text", type=Path, help="a text file; sentences are made up without")
    parser.add_argument("--prompt", default="the ", help="what the page begins with")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--short", action="store_true", help="a few steps, to see it run")
    options = parser.parse_args()
    size: dict = {"cell": "gru"}
    settings = Settings()
    if options.short or options.text is None:
        size |= {"hidden": 32, "embedding": 8, "unroll_steps": 32, "batch_size": 16}
        settings = Settings(steps=60 if options.short else 600, learning_rate=2e-2)

    # The text is cut into as many streams as a batch is wide. Each batch holds the next stretch of
    # all of them, and the state is handed on: the net remembers further than gradients reach.
    with tempfile.TemporaryDirectory() as folder:
        task = language(text=options.text or made_up_text(folder), **size)
        result = fit(task, settings)

    print(f"nats per character, held out: {result.metrics['nats_per_character']:.3f}")
    for name, value in task.baselines.items():
        print(f"  {name}: {value:.3f}")
    key = jax.random.key(0)
    print(
        task.infer["generate"](
            result.params, options.prompt, 200, key=key, temperature=options.temperature
        )
    )


if __name__ == "__main__":
    main()
