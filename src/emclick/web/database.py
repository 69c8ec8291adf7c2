"""The project's file: a SQLite database in which a change is whole and on disk, or not there at all.

One connection writes and one reads, so that a long list never waits for a click, nor a click for it. A second
process is kept from writing by a lock that the operating system lets go of when this one ends, however it ends.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from emclick.web.errors import ProjectBusyError, ProjectError, StorageError

APPLICATION_ID = 0x454D436C
VERSION = 1

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE counter (seq INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
CREATE TABLE label (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, color TEXT NOT NULL, key TEXT,
    place INTEGER NOT NULL
);
CREATE TABLE image (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, place INTEGER NOT NULL, present INTEGER NOT NULL DEFAULT 1,
    mtime_ns INTEGER NOT NULL, bytes INTEGER NOT NULL, width INTEGER, height INTEGER, problem TEXT,
    status TEXT NOT NULL DEFAULT 'todo', position INTEGER NOT NULL DEFAULT 0, top INTEGER NOT NULL DEFAULT 0,
    seq INTEGER NOT NULL
);
CREATE INDEX image_seq ON image (seq);
CREATE INDEX image_place ON image (present, place);
CREATE TABLE object (
    id TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES image (id), label TEXT NOT NULL DEFAULT '', color TEXT,
    visible INTEGER NOT NULL DEFAULT 1, locked INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0,
    place REAL NOT NULL, initial TEXT, position INTEGER NOT NULL DEFAULT 0, top INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL
);
CREATE INDEX object_image ON object (image, deleted, place);
CREATE INDEX object_seq ON object (seq);
CREATE TABLE item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, object TEXT NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    n INTEGER NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL, counts TEXT NOT NULL, clicks TEXT NOT NULL,
    threshold REAL NOT NULL, made_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, UNIQUE (object, n)
);
CREATE TABLE image_item (
    id INTEGER PRIMARY KEY AUTOINCREMENT, image TEXT NOT NULL REFERENCES image (id), n INTEGER NOT NULL,
    kind TEXT NOT NULL, payload TEXT NOT NULL, UNIQUE (image, n)
);
CREATE TABLE request (
    scope TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, answer TEXT NOT NULL,
    at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (scope, key)
);
"""
# item ids are never used twice (AUTOINCREMENT): live sessions know their history by them.


class Transaction:
    """One change: what it runs is committed together when the `with` block ends, or not at all."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seq: int | None = None

    def run(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """One statement."""
        return self._connection.execute(sql, values)

    def many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """One statement with many rows of values."""
        self._connection.executemany(sql, rows)

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """The first row, or None."""
        return self._connection.execute(sql, values).fetchone()

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows."""
        return self._connection.execute(sql, values).fetchall()

    @property
    def seq(self) -> int:
        """The number of this change; the first to ask makes it."""
        if self._seq is None:
            self.run("UPDATE counter SET seq = seq + 1")
            row = self.one("SELECT seq FROM counter")
            assert row is not None
            self._seq = int(row[0])
        return self._seq


class Database:
    """An open project file. Safe to use from several threads.

    Args:
        path: of the file.
        create: make it if it is not there.
        exclusive: take the write lock now instead of at the first change.

    Raises:
        ProjectError: it is not there, not readable, no project, or of a newer version.
        ProjectBusyError: it must be written to and another process does so already.
    """

    def __init__(self, path: Path, *, create: bool = True, exclusive: bool = False) -> None:
        self.path = path
        self._lock: sqlite3.Connection | None = None
        self._writing, self._reading = threading.RLock(), threading.Lock()
        self._listeners: list[Callable[[int], None]] = []
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        if not create and not path.is_file():
            raise ProjectError(f"there is no project at {path}: start one with `emclick serve`")
        if not path.parent.is_dir():
            raise ProjectError(f"cannot make the project {path}: there is no folder {path.parent}")
        try:
            if exclusive:
                self.take_lock()
            self._writer = self._open()
            self._reader = self._connect()
        except sqlite3.Error as error:
            self.close()
            raise ProjectError(f"cannot open the project {path}: {_advice(error)}") from error
        except BaseException:
            self.close()
            raise

    def take_lock(self) -> None:
        """Become the one process that writes; does nothing if it is already.

        Raises:
            ProjectBusyError: another process is.
            ProjectError: the place cannot be written to.
        """
        with self._writing:
            if self._lock is not None:
                return
            lock = self.path.with_name(self.path.name + ".lock")
            connection = None
            try:
                # A transaction left open, on a file of its own: such locks work on every system and die with
                # the process.
                connection = sqlite3.connect(lock, timeout=0.2, isolation_level=None, check_same_thread=False)
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.Error as error:
                if connection is not None:
                    connection.close()
                if "locked" in str(error):
                    raise ProjectBusyError(
                        f"another process has the project {self.path} open: use its page, or stop it first"
                    ) from error
                raise ProjectError(f"cannot write the project {self.path}: {_advice(error)}") from error
            self._lock = connection

    def read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query, as last committed.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._reading:
            if self._reader is None:
                raise StorageError("the project is closed")
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"cannot read the project {self.path}: {error}") from error

    @contextlib.contextmanager
    def write(self) -> Iterator[Transaction]:
        """A change, on disk when the block ends; one at a time, and none of it if the block raises.

        Raises:
            StorageError: it could not be stored; says why.
            ProjectBusyError: another process is writing to this project.
        """
        with self._writing:
            self.take_lock()
            if self._writer is None:
                raise StorageError("the project is closed")
            connection = self._writer
            try:
                connection.execute("BEGIN IMMEDIATE")
                transaction = Transaction(connection)
                yield transaction
                connection.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise StorageError(f"the change was not saved: {_advice(error)}") from error
                raise
            seq = transaction._seq
        if seq is not None:
            for listener in list(self._listeners):
                listener(seq)

    def listen(self, listener: Callable[[int], None]) -> None:
        """Have `listener(seq)` called after every change, in the thread that made it."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Let go of the file and of the lock. May be called twice."""
        with self._writing, self._reading:
            for connection in (self._reader, self._writer, self._lock):
                if connection is not None:
                    with contextlib.suppress(sqlite3.Error):
                        connection.close()
            self._reader = self._writer = self._lock = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=10, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "fullfsync=ON", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _open(self) -> sqlite3.Connection:
        new = not self.path.is_file() or self.path.stat().st_size == 0
        if new:
            self.take_lock()
        connection = self._connect()
        try:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables:
                self.take_lock()
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(
                    f"BEGIN; {SCHEMA} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION}; COMMIT;"
                )
            elif application != APPLICATION_ID:
                raise ProjectError(
                    f"{self.path} is a database, but no emclick project: give another --project"
                )
            elif version > VERSION:
                raise ProjectError(
                    f"the project {self.path} was written by a newer emclick (format {version}, this one reads "
                    f"up to {VERSION}): update emclick"
                )
        except BaseException:
            connection.close()
            raise
        return connection


_ADVICE = (
    ("disk is full", "the disk is full: make room and try again"),
    ("readonly", "it is read-only: make it writable, or give --project a place that is"),
    ("unable to open", "the place cannot be written to: give --project a place that can"),
    ("not a database", "it is no SQLite database: give another --project"),
    ("malformed", "the file is damaged: put a copy in its place, or give another --project"),
)


def _advice(error: sqlite3.Error) -> str:
    text = str(error)
    return next((advice for part, advice in _ADVICE if part in text), text)
