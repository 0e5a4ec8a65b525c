"""Cells with gates: LSTMs and GRUs."""
