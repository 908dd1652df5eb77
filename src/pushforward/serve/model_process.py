"""A model in a process of its own, which answers while another one talks to clients."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import pickle
import shutil
import signal
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
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

__all__ = ["ModelProcess", "keep_objects"]

LOG = logging.getLogger("pushforward.serve")
LEAVE_SECONDS = 5.0
"""In which the process ends when it is asked to; then it is killed."""


def keep_objects() -> None:
    """Have the garbage collector pass over the objects that there are: those of libraries and models stay until the
    end, and requests would wait for tenths of a second while it looks at a million of them."""
    gc.collect()
    gc.freeze()


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
        OSError: the system starts no further process.
    """

    _connection: Connection | None = None
    _process: BaseProcess | None = None  # one that has loaded the model

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
        """Whether there is a process that has loaded the model and answers."""
        process = self._process  # another thread may start it anew
        return process is not None and process.is_alive()

    def revive(self) -> None:
        """Start the process anew if it has ended; where that fails, the next question tries again."""
        if self.is_alive:
            return
        self._end()
        try:
            self._start()
        except Exception as error:
            LOG.error("the process of the model could not be started anew: %s", error)

    def close(self) -> None:
        """End the process."""
        self._end()
        self._folder.cleanup()

    def _end(self) -> int | None:
        """End the process, if there is one; the code with which it ended."""
        connection, process = self._connection, self._process
        self._connection = self._process = None
        if connection is None or process is None:
            return None
        return _stop(connection, process)

    def _start(self) -> Any:
        """Start the process; what it says about the model."""
        context = multiprocessing.get_context("spawn")  # a fork would copy threads in the middle of something
        connection, theirs = context.Pipe()
        process = context.Process(target=_answer, args=(theirs, self.path), daemon=True, name="model")
        try:
            with theirs:  # closed here in any case: while it is open, nobody learns that the process has ended
                process.start()
            try:
                about, error = connection.recv()
            except (EOFError, OSError):
                raise ValueError(f"{self.path.name}: the process that reads the model ended before it had.") from None
            if error is not None:
                raise error
        except BaseException:
            _stop(connection, process)
            raise
        self._connection, self._process = connection, process
        return about

    def _ask(self, question: str, *arguments: Any) -> Any:
        if self._connection is None:
            self.revive()
        if self._connection is None:
            raise BusyError("The process of the model could not be started anew. Try again later.")
        try:
            self._connection.send((question, arguments))
            answer, error = self._connection.recv()
        except (EOFError, OSError, MemoryError):  # in the middle of a message too, after which no other can be read
            LOG.error("the process of the model ended with code %s and starts anew", self._end())
            self.revive()
            raise BusyError("The model needed too much memory, or its process was killed. Try again later.") from None
        if error is not None:
            raise error
        return answer


def _stop(connection: Connection, process: BaseProcess) -> int | None:
    """End a process, which may never have started; the code with which it ended."""
    connection.close()
    if process.pid is None:
        return None
    process.join(LEAVE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join(LEAVE_SECONDS)
    return process.exitcode


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
    keep_objects()
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
