"""Benchmarks of rnnjax against its peers: run `python -m benchmarks.train_step`."""
