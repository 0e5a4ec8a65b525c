"""The command line as a user starts it."""

import os
import subprocess
import sys

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "RNNJAX_"))}
ENVIRONMENT["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # as in the rest of the suite


def command(*arguments):
    return [sys.executable, "-m", "rnnjax.experiments.cli", *map(str, arguments)]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        **options,
    )
