"""One browser for all; one server and one page per module; a page that complains fails its test."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    from web.browser.driver import CHROMIUM, find_chromium, launch

    if find_chromium() is None:
        pytest.skip(f"no Chromium on the path; {CHROMIUM} names the executable")
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


@pytest.fixture(scope="module")
def windows(browser: Any, served: Any) -> Iterator[Callable[[float], Any]]:
    """`windows(dpr)`: the pages that the tests of a module share, one for each kind of screen."""
    from web.browser.driver import Desk, new_profile
    from web.servers import TOKEN

    made: dict[float, Any] = {}

    def at(dpr: float) -> Any:
        if dpr not in made:
            made[dpr] = Desk(new_profile(browser, dpr), served.url, TOKEN)
        return made[dpr]

    yield at
    for each in made.values():
        each.client.close()
        each.page.context.close()


@pytest.fixture
def desk(windows: Callable[[float], Any], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The module's page; on another screen where the test is parametrized with its `dpr`."""
    callspec = getattr(request.node, "callspec", None)
    found = windows(callspec.params.get("dpr", 1) if callspec else 1)
    found.forgive()
    yield found
    assert found.complained() == []


@pytest.fixture
def desks(browser: Any, served: Any) -> Iterator[Callable[..., Any]]:
    """Makes desks of the test's own: `desks()` in a browser profile of its own, `desks(beside=desk)` in that desk's."""
    from web.browser.driver import Desk, new_profile
    from web.servers import TOKEN

    made: list[Any] = []

    def make(*, beside: Any = None) -> Any:
        profile = new_profile(browser) if beside is None else beside.page.context
        made.append(Desk(profile, served.url, TOKEN))
        return made[-1]

    yield make
    complaints = [each for desk in made for each in desk.complained()]
    for desk in made:
        desk.client.close()
        desk.page.close()
    assert complaints == []


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from web.browser.driver import write_photographs

    return write_photographs(tmp_path_factory.mktemp("served") / "photographs")
