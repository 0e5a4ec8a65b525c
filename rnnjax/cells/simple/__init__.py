"""Cells without gates, nonlinear in their state."""
