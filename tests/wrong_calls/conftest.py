"""What is not imported to look for doctests: there are none, and it takes seconds."""

collect_ignore_glob = ["valid_calls_*.py", "wrong_calls.py"]
