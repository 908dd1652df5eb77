"""Answers about the training of a session: one at a time, which its calls start, pause and end."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from pushforward.distributions import Flow
from pushforward.lab.arguments import Arguments, LabError
from pushforward.lab.baselines import baseline_likelihoods
from pushforward.lab.points import FEWEST, MOST, NAMED, PlaneRows, rows_of_points, rows_of_target
from pushforward.lab.training import Emit, Training
from pushforward.lab.training_options import TrainingOptions

__all__ = ["TrainingAnswers"]


class TrainingAnswers:
    """Answers to ``train.*``.

    Args:
        emit: called with the name and the data of each event.
        bytes_per_second: of events, at most.
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        "points", "data", "family", "depth", "univariate", "hidden", "learning_rate", "seed", "steps_per_second",
        "paused",
    )  # fmt: skip

    def __init__(self, emit: Emit, bytes_per_second: float = math.inf) -> None:
        self._emit, self._rate, self._lock = emit, bytes_per_second, threading.Lock()
        self._training: Training | None = None
        self._runs, self._closed = 0, False

    def start(self, arguments: Arguments) -> dict[str, Any]:
        """Begin to train; the training that ran before ends. The answer comes when the baselines are fitted, which
        takes a second or two, while the training runs already."""
        options, paused = TrainingOptions.read(arguments), arguments.flag("paused", False)
        if arguments.has("points") == arguments.has("data"):
            raise LabError("train.start: either points or data must say what to learn from.")
        if arguments.has("data"):
            rows = rows_of_target(arguments.choice("data", tuple(NAMED)), options.seed)
        else:
            rows = rows_of_points(arguments.points("points", FEWEST, MOST), options.seed)
        training = self._begin(options, rows, paused=paused)
        baselines = baseline_likelihoods(rows, 0)
        return _place(training) | {"entropy": rows.entropy, "baselines": baselines, "scale": rows.scale}

    def pause(self, arguments: Arguments) -> dict[str, Any]:
        """Wait after the present step."""
        return {"state": self._current(arguments).controls.pause()}

    def resume(self, arguments: Arguments) -> dict[str, Any]:
        """Go on."""
        return {"state": self._current(arguments).controls.resume()}

    def step(self, arguments: Arguments) -> dict[str, Any]:
        """Take one step, and wait."""
        return {"state": self._current(arguments).controls.step()}

    def reset(self, arguments: Arguments) -> dict[str, Any]:
        """Go back to the weights of the start, and wait there."""
        training = self._current(arguments)
        return _place(self._begin(training.options, training.rows, paused=True))

    def ask(self, question: Callable[[Flow], Any]) -> Any:
        """The answer to a question about the flow that is being trained.

        Raises:
            LabError: there is none.
        """
        training = self._training
        if training is None:
            raise LabError("No flow is being trained. Start a training first.")
        return training.ask(question)

    def close(self) -> None:
        """End the training."""
        with self._lock:
            self._closed = True
            if self._training is not None:
                self._training.close()

    def _begin(self, options: TrainingOptions, rows: PlaneRows, *, paused: bool) -> Training:
        with self._lock:
            if self._closed:
                raise LabError("The session is closed.")
            if self._training is not None:
                self._training.close()
            self._runs += 1
            self._training = Training(
                options, rows, self._emit, run=self._runs, paused=paused, bytes_per_second=self._rate
            )
            self._training.start()
            return self._training

    def _current(self, arguments: Arguments) -> Training:
        training = self._training
        if training is None:
            raise LabError(f"{arguments.call}: there is no training. Start one first.")
        return training


def _place(training: Training) -> dict[str, Any]:
    """Which training it is, and how often it changed between running and waiting."""
    return {"run": training.run, "state": training.controls.status[0]}
