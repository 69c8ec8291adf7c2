"""One thread per test process, and the order of the files."""

import os

import pytest

# Small networks gain nothing from more threads, and the machine may be shared. Read by torch when first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Of several processes none shall be left alone with one of these at the end.
LONG = ("web/browser", "runtimes", "training", "networks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders of the long files come first."""

    def place(item: pytest.Item) -> int:
        folders = item.path.parent.as_posix()
        return next(
            (number for number, name in enumerate(LONG) if folders.endswith(f"tests/{name}")), len(LONG)
        )

    items.sort(key=place)
