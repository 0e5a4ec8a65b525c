"""`python -m rnnjax.experiments.cli`, the same as `rnnjax`."""

from rnnjax.experiments.cli import main

main()
