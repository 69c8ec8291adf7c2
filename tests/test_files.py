"""Writing all or nothing."""

from __future__ import annotations

import errno
import os

import pytest

from emclick.errors import WriteError
from emclick.files import write_atomic, write_bytes, write_text


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    target = tmp_path / "ünïcode 名.bin"
    assert write_bytes(target, b"one") == target
    write_bytes(str(target), b"two")
    assert target.read_bytes() == b"two"
    assert names(tmp_path) == [target.name]


def test_text_is_utf8_with_its_own_newlines(tmp_path):
    write_text(tmp_path / "t", "ä\n\r\nb")
    assert (tmp_path / "t").read_bytes() == "ä\n\r\nb".encode()


def test_the_reader_sees_old_or_new_never_half(tmp_path):
    target = tmp_path / "f"
    target.write_bytes(b"old")

    def write(file):
        file.write(b"n" * 100_000)
        file.flush()
        assert target.read_bytes() == b"old"

    write_atomic(target, write)
    assert target.read_bytes() == b"n" * 100_000


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_write_that_dies_midway_changes_nothing(tmp_path, kind):
    target = tmp_path / "f"
    target.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise kind("killed")

    with pytest.raises(kind):
        write_atomic(target, write)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
def test_an_error_of_the_disk_is_one_clear_line(tmp_path, monkeypatch, call):
    target = tmp_path / "f"
    target.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(WriteError, match="No space left on device; nothing was changed"):
        write_bytes(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["f"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(WriteError, match="nothing was changed"):
        write_bytes(tmp_path / "no" / "f", b"x")


def test_a_null_character_in_the_name(tmp_path):
    with pytest.raises(WriteError, match="null character"):
        write_bytes(tmp_path / "a\0b", b"x")
    assert names(tmp_path) == []


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "f").mkdir()
    with pytest.raises(WriteError):
        write_bytes(tmp_path / "f", b"x")
    assert names(tmp_path) == ["f"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_the_file_is_as_readable_as_one_written_plainly(tmp_path):
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
