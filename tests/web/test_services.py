"""Errors on their way to an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from web.servers import click, client_of, new_object, write_images


@pytest.mark.parametrize("words", [(), ("too large a picture",)])
def test_what_wants_too_much_memory_is_not_to_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError(*words)

    with client_of(write_images(tmp_path)) as client:
        one = new_object(client)["id"]
        monkeypatch.setattr(client.app.state.services.actions, "click", fail)
        answer = click(client, one, 20, 12)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert error["code"] == "memory"
        assert error["message"] == (
            words[0] if words else "the memory of the server is not enough for this; nothing was changed"
        )
