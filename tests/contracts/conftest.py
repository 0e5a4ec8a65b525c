"""All tests of one row run in one process, which makes its problem and compiles its parts once."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        row = getattr(item, "callspec", None) and item.callspec.params.get("name")
        if row and "contracts" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group(row))
