"""The other end of a worker: starts it with its threads fixed, asks it, and sees it off."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from emclick.errors import WorkerError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Read by numerical libraries when they are first imported, and never again."""

SLOWING_VARIABLES = ("OPENBLAS_CORETYPE",)
"""Hold numpy's products to kernels that are not this processor's fastest: what they take would be no floor."""

# the same modules are found as here, however this process came by them
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from emclick.benchmark.worker import main; main()"


class Worker:
    """A process of `emclick.benchmark.worker`; a context manager that ends it, whatever it is doing.

    Args:
        job: "module:attribute" of the job, see `worker.Job`.
        options: keyword arguments of it.
        threads: CPU threads for the numerical libraries it imports.

    Attributes:
        about: what the job told of itself.

    Raises:
        WorkerError: the job could not be made; says why.
    """

    def __init__(self, job: str, options: Mapping[str, Any], threads: int) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in SLOWING_VARIABLES}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**inherited, **dict.fromkeys(THREAD_VARIABLES, str(threads))},
            encoding="utf-8",
        )
        try:
            self.about = self.ask(do="open", job=job, options=dict(options))
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self._process.poll() is None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerError: it failed (the process lives on), or the process died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:  # no line is no JSON
            raise WorkerError(f"its process died ({self._last_words()})") from error
        if "error" in answer:
            text = answer["message"] or answer["error"]
            raise WorkerError(text if answer["known"] else f"unexpected {answer['error']}: {text}")
        return answer

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent has nobody to go to
                    stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _last_words(self) -> str:
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its output alone
            self._process.kill()
            code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"exit status {code}" + (f": {last[:200]}" if last else "")
