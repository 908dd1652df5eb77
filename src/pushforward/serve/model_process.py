"""A model in a process of its own, which answers while another one talks to clients."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import shutil
import signal
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from pushforward.core.signals import INTERRUPTING
from pushforward.io import read_header
from pushforward.serve.model import ServedModel
from pushforward.serve.queue import BusyError

__all__ = ["ModelProcess"]

LOG = logging.getLogger("pushforward.serve")
LEAVE_SECONDS = 5.0
"""In which the process ends when it is asked to; then it is killed."""


class ModelProcess:
    """A `ServedModel` in a process of its own, with the same answers.

    Threads of one process take turns: each of the hundreds of small operations of a model would wait for the thread
    that talks to clients, and that one for the operations. If the process dies, as one that needs too much memory, the
    question is refused and the process starts anew, with the model of before whatever has become of its file. One
    thread asks at a time.

    Args:
        path: of the file.

    Raises:
        ValueError: the file is damaged, or holds no model of a table.
    """

    def __init__(self, path: Path) -> None:
        read_header(path)  # says what is wrong with it
        self._folder = tempfile.TemporaryDirectory(prefix="pushforward-serve-")
        self.path = Path(shutil.copy(path, self._folder.name))
        try:
            self.name, self.schema, self.exactness, self._description = self._start()
        except BaseException:
            self.close()
            raise

    def scores(self, tables: Sequence[pa.Table]) -> list[NDArray[np.float64] | Exception]:
        """As `ServedModel.scores`."""
        answers: list[NDArray[np.float64] | Exception] = self._ask("scores", tables)
        return answers

    def sample(self, n: int, conditions: Mapping[str, Any], seed: int | None, keep_rules: bool) -> pa.Table:
        """As `ServedModel.sample`."""
        return self._ask("sample", n, conditions, seed, keep_rules)

    def conditional(self, conditions: Mapping[str, Any], probability: float) -> list[dict[str, Any]]:
        """As `ServedModel.conditional`."""
        columns: list[dict[str, Any]] = self._ask("conditional", conditions, probability)
        return columns

    def impute(self, table: pa.Table, draw: bool, seed: int | None) -> pa.Table:
        """As `ServedModel.impute`."""
        return self._ask("impute", table, draw, seed)

    def explain(self, table: pa.Table, top: int) -> list[dict[str, Any]]:
        """As `ServedModel.explain`."""
        rows: list[dict[str, Any]] = self._ask("explain", table, top)
        return rows

    def describe(self) -> dict[str, Any]:
        """As `ServedModel.describe`."""
        return self._description

    @property
    def is_alive(self) -> bool:
        """Whether there is a process that answers."""
        return self._process.is_alive()

    def close(self) -> None:
        """End the process."""
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        self._connection.close()
        self._process.join(LEAVE_SECONDS)
        if self._process.is_alive():
            self._process.kill()

    def _start(self) -> Any:
        """Start the process; what it says about the model."""
        context = multiprocessing.get_context("spawn")  # a fork would copy threads in the middle of something
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs, self.path), daemon=True, name="model")
        self._process.start()
        theirs.close()
        try:
            about, error = self._connection.recv()
        except (EOFError, OSError):
            raise ValueError(f"{self.path.name}: the process that reads the model ended before it had.") from None
        if error is not None:
            raise error
        return about

    def _ask(self, question: str, *arguments: Any) -> Any:
        try:
            self._connection.send((question, arguments))
            answer, error = self._connection.recv()
        except (EOFError, OSError):
            self._end()
            LOG.error("the process of the model ended with code %s and starts anew", self._process.exitcode)
            with suppress(ValueError):  # the next question tries again
                self._start()
            raise BusyError("The model needed too much memory, or its process was killed. Try again later.") from None
        if error is not None:
            raise error
        return answer


def _answer(connection: Connection, path: Path) -> None:
    """Answer questions until the other process closes the connection, or is gone."""
    for interrupting in INTERRUPTING:  # of the whole group: the process that talks to clients decides
        signal.signal(interrupting, signal.SIG_IGN)
    torch.set_num_threads(1)  # the other cores are for talking to clients
    try:
        model = ServedModel(path)
    except Exception as error:
        connection.send((None, _portable(error)))
        return
    connection.send(((model.name, model.schema, model.exactness, model.describe()), None))
    while True:
        try:
            question, arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any = None
        failure: Exception | None = None
        try:
            answer = getattr(model, question)(*arguments)
        except Exception as error:
            failure = _portable(error)
        connection.send((answer, failure))


def _portable(error: Exception) -> Exception:
    """An error that another process can read, with where it came from."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return (ValueError if isinstance(error, ValueError) else RuntimeError)(f"{type(error).__name__}: {error}")
    return error
