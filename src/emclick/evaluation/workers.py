"""An ordered map over processes: each sets itself up once, then takes one task at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TypeVar

from emclick.errors import WorkerError

Task = TypeVar("Task")
Result = TypeVar("Result")


def ordered_map(
    setup: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """Results of `setup()(task)` in the order of the tasks, from `workers` processes.

    `setup` runs once in each process, which is spawned, so `setup`, tasks and results must be picklable (and
    a script on Windows or macOS needs `if __name__ == "__main__"`). Tasks are drawn one by one as processes
    become free, at most two per process ahead of the result that is due. Closing the iterator ends the
    processes.

    Raises:
        WorkerError: a process died; or whatever `setup` or a task raised, first in order.
    """
    context = multiprocessing.get_context("spawn")
    processes: list[tuple[SpawnProcess, Connection]] = []
    free: list[Connection] = []
    busy: dict[Connection, int] = {}
    numbered = enumerate(tasks)
    ready: dict[int, tuple[bool, object]] = {}
    due = 0
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(setup, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append((process, ours))
            free.append(ours)
        while True:
            while free and len(busy) + len(ready) < 2 * workers:
                number, task = next(numbered, (None, None))
                if number is None:
                    break
                connection = free.pop()
                _send(connection, task)
                busy[connection] = number
            if not busy and due not in ready:
                return
            while due in ready:
                ok, value = ready.pop(due)
                due += 1
                if not ok:
                    raise value  # type: ignore[misc]  # an exception, see _serve
                yield value  # type: ignore[misc]
            answered = wait(list(busy)) if busy else []
            for connection in [each for each in busy if each in answered]:
                ready[busy.pop(connection)] = _receive(connection)
                free.append(connection)
    finally:
        for process, connection in processes:
            connection.close()
            process.terminate()
        for process, _ in processes:
            process.join()


def _send(connection: Connection, task: object) -> None:
    try:
        connection.send(task)
    except OSError as error:
        raise WorkerError("an evaluation process died at its start") from error


def _receive(connection: Connection) -> tuple[bool, object]:
    try:
        return connection.recv()
    except (EOFError, OSError) as error:
        raise WorkerError("an evaluation process died (out of memory? try fewer workers)") from error


def _serve(setup: Callable[[], Callable[[object], object]], connection: Connection) -> None:
    """Body of a process: answer (True, result) or (False, exception) to each task until the pipe closes."""
    with contextlib.suppress(KeyboardInterrupt, EOFError, OSError):
        run, failure = None, WorkerError("not set up")
        try:
            run = setup()
        except Exception as error:
            failure = _portable(error)
        while True:
            task = connection.recv()
            try:
                answer = (False, failure) if run is None else (True, run(task))
            except Exception as error:
                answer = (False, _portable(error))
            connection.send(answer)


def _portable(error: Exception) -> Exception:
    """The error itself if it survives pickling, else an `WorkerError` with its text."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
