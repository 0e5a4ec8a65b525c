"""Cells that are linear in their state, whatever they read."""
