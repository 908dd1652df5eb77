"""A session of Flow Lab: messages of one browser tab, or one widget, in, and answers and events out."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from pushforward.core.json_values import finite
from pushforward.lab.answers_maps import MapAnswers
from pushforward.lab.answers_models import ModelAnswers
from pushforward.lab.answers_training import TrainingAnswers
from pushforward.lab.arguments import Arguments, LabError, shown
from pushforward.lab.folder import ModelFolder

__all__ = ["LabSession"]

WORKERS = 2
"""Threads of a session that compute answers: one slow answer does not hold up the others."""
MOST_WAITING = 64
"""Calls that may wait for an answer."""
MOST_BYTES_WAITING = 64 * 2**20
"""Size of the messages of these calls together: the tables that they bring stay in memory until they are answered."""
LONGEST_ID = 64
"""Characters."""


class Call(NamedTuple):
    """What the session knows about a call.

    Attributes:
        answer: computes the result.
        names: of the arguments.
        is_quick: whether it is answered at once, in the thread of the message.
    """

    answer: Callable[[Arguments], Any]
    names: tuple[str, ...] = ()
    is_quick: bool = False


class LabSession:
    """The Python side of ``web/PROTOCOL.md``. Close it when the tab or the widget is gone: that ends its training.

    Args:
        send: called with each answer ``{"id", "result"}`` or ``{"id", "error"}`` and each event ``{"event", "data"}``,
            from several threads, without numbers that are NaN or infinite.
        folder: of model files that the user may open; None for none.
        bytes_per_second: of events, at most, for ways on which more would get lost.

    Raises:
        ValueError: there is no such folder.

    >>> answers = []
    >>> session = LabSession(answers.append)
    >>> session.handle({"id": 1, "call": "info"})
    >>> answers[0]["result"]["families"]
    ['maf', 'coupling', 'planar']
    >>> session.close()
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        folder: str | os.PathLike[str] | None = None,
        *,
        bytes_per_second: float = math.inf,
    ) -> None:
        files = ModelFolder(folder)
        self._send_message, self._lock = send, threading.Lock()
        self._closed, self._waiting, self._waiting_bytes = False, 0, 0
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="flow-lab-answers")
        self._models, self._training = ModelAnswers(files), TrainingAnswers(self._tell, bytes_per_second)
        maps = MapAnswers(files, self._training.ask)
        models, training = self._models, self._training
        self._calls: dict[str, Call] = {
            "info": Call(maps.info, is_quick=True),
            "maps.presets": Call(maps.presets),
            "maps.point": Call(maps.point, ("flow", "z")),
            "data.sample": Call(maps.sample, ("name", "n", "seed")),
            "data.density": Call(maps.density, ("name", "bounds", "size")),
            "table.open": Call(models.open_table, ("name", "content")),
            "table.columns": Call(models.columns, ("x", "y")),
            "train.start": Call(training.start, training.NAMES),
            "train.pause": Call(training.pause, is_quick=True),
            "train.resume": Call(training.resume, is_quick=True),
            "train.step": Call(training.step, is_quick=True),
            "train.reset": Call(training.reset),
            "model.open": Call(models.open_model, ("name",)),
            "model.marginals": Call(models.marginals, ("given",)),
            "model.sample": Call(models.sample, ("n", "given", "seed")),
            "model.anomalies": Call(models.anomalies, ("content", "name", "count")),
            "model.pit": Call(models.pit, ("content", "name")),
        }

    def handle(self, message: Any, size: int | None = None) -> None:
        """Answer a message, at once or from another thread. Whatever the message is, it raises nothing.

        Args:
            message: from the page.
            size: of its text; None to estimate it from the arguments.
        """
        number = message.get("id") if isinstance(message, dict) else None
        if not _may_be_id(number):
            number = None
        try:
            name, call = self._call_of(message)
            if number is None:
                raise LabError(f'{name}: "id" must be a whole number or a text of at most {LONGEST_ID} characters.')
            arguments = Arguments(name, message.get("with"), call.names)
            if call.is_quick:
                self._answer(number, call, arguments)
                return
            size = _size(arguments.values) if size is None else size
            with self._lock:
                if self._closed:
                    return
                if self._waiting_bytes + size > MOST_BYTES_WAITING:
                    limit = MOST_BYTES_WAITING // 2**20
                    raise LabError(f"{name}: calls that wait for an answer hold {limit} MB already. Try again later.")
                if self._waiting >= MOST_WAITING:
                    raise LabError(f"{name}: {MOST_WAITING} calls wait for an answer already. Try again later.")
                self._waiting, self._waiting_bytes = self._waiting + 1, self._waiting_bytes + size
                self._pool.submit(self._work, number, call, arguments, size)
        except LabError as error:
            self._send({"id": number, "error": str(error)})

    def close(self) -> None:
        """End the training, wait for the answers in progress, and leave no thread behind."""
        with self._lock:
            self._closed = True
        self._training.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._training.close()  # one that a call has started meanwhile

    def _call_of(self, message: Any) -> tuple[str, Call]:
        if not isinstance(message, dict):
            raise LabError(f'A message must be an object with "id", "call" and "with"; got {shown(message)}.')
        name = message.get("call")
        if not isinstance(name, str) or name not in self._calls:
            raise LabError(f"There is no call {shown(name)}.")
        return name, self._calls[name]

    def _work(self, number: int | str, call: Call, arguments: Arguments, size: int) -> None:
        try:
            self._answer(number, call, arguments)
        finally:
            with self._lock:
                self._waiting, self._waiting_bytes = self._waiting - 1, self._waiting_bytes - size

    def _answer(self, number: int | str, call: Call, arguments: Arguments) -> None:
        try:
            self._send({"id": number, "result": call.answer(arguments)})
        except Exception as error:
            self._send({"id": number, "error": sentence(arguments.call, error)})

    def _tell(self, event: str, data: dict[str, Any]) -> None:
        self._send({"event": event, "data": data})

    def _send(self, message: dict[str, Any]) -> None:
        if not self._closed:
            self._send_message(finite(message))


def _may_be_id(value: Any) -> bool:
    """Whether a value is a text or a whole number that is short enough; Python writes no number of 5,000 digits."""
    if isinstance(value, str):
        return len(value) <= LONGEST_ID
    return isinstance(value, int) and not isinstance(value, bool) and -(10 ** (LONGEST_ID - 1)) < value < 10**LONGEST_ID


def _size(values: dict[str, Any]) -> int:
    """About how many characters the arguments of a call have; those of a point are 40."""
    texts = sum(len(value) for value in values.values() if isinstance(value, str))
    return texts + 40 * sum(len(value) for value in values.values() if isinstance(value, list | dict))


def sentence(call: str, error: Exception) -> str:
    """What a user is told about an error: the words of the library where it refused something."""
    if isinstance(error, MemoryError):
        return f"{call}: out of memory. Use a smaller table or fewer rows."
    if isinstance(error, ValueError | TimeoutError) and str(error):
        return str(error)
    if isinstance(error, TimeoutError):
        return "The training is busy. Try again."
    if isinstance(error, OSError):
        return f"{call}: {error.strerror or 'the file cannot be read'}."
    return f"{call}: internal error ({type(error).__name__}). This is a bug of pushforward: please report it."
