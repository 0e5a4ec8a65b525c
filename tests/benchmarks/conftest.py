"""Tests of the benchmarks share a process with others, whose programs they leave alone."""

import gc

import jax
import pytest


@pytest.fixture(autouse=True)
def keep_what_others_compiled(monkeypatch):
    monkeypatch.setattr(jax, "clear_caches", lambda: None)
    monkeypatch.setattr(gc, "collect", lambda: 0)
