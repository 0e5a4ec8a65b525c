"""`python -m rnnjax.cli`, the same as `rnnjax`."""

from rnnjax.cli import main

main()
