"""The command line as a user starts it."""

import os
import subprocess
import sys

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "RNNJAX_"))}


def command(*arguments):
    return [sys.executable, "-m", "rnnjax.cli", *map(str, arguments)]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        **options,
    )
