"""A flow that is trained while it is watched."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from pushforward.core.random_state import seeded
from pushforward.core.threads import single_threaded
from pushforward.distributions import Flow
from pushforward.lab.controls import Controls
from pushforward.lab.maps import flow_json
from pushforward.lab.pacing import Pace
from pushforward.lab.points import PlaneRows
from pushforward.lab.training_options import SlowDecay, TrainingOptions
from pushforward.train import Event, Started, Stepped, Stop, Validated, fit

__all__ = ["Training"]

STEPS = 1_000_000
"""After which a forgotten training ends."""
BATCH, VALIDATE_EVERY = 256, 50
LOSS_MEMORY = 0.9
"""How much the loss that is shown remembers of earlier batches."""

Emit = Callable[[str, dict[str, Any]], None]


class Training:
    """A run of `fit` in a thread of its own, on one core. Its events are ``train`` and ``train.failed``; see
    ``web/PROTOCOL.md``.

    Args:
        options: what the user chose.
        rows: what is learned from.
        emit: called with the name and the data of each event, in the thread of the training.
        run: number of this run, which its events carry.
        paused: whether to wait before the first step.
        bytes_per_second: of events, at most.

    Attributes:
        flow: what is trained. While the thread runs, ask about it by `ask`.
    """

    def __init__(
        self,
        options: TrainingOptions,
        rows: PlaneRows,
        emit: Emit,
        *,
        run: int = 0,
        paused: bool = False,
        bytes_per_second: float = math.inf,
    ) -> None:
        self.options, self.rows, self.run = options, rows, run
        self.controls, self._emit, self._pace = Controls(paused=paused), emit, Pace(bytes_per_second)
        with seeded(options.seed):
            self.flow: Flow = options.build()
        self._size = 16 * sum(weights.numel() for weights in self.flow.parameters()) // 3  # float32 in base64
        self._step, self._seconds = 0, 0.0
        self._loss: float | None = None
        self._held_out: float | None = None
        self._began = self._next = 0.0
        self._thread = threading.Thread(target=self._train, name="flow-lab-training", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the training and wait until its thread is gone, which takes a step at most."""
        self.controls.stop()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def ask(self, question: Callable[[Flow], Any]) -> Any:
        """The answer to a question about the flow as it is between two steps."""
        return self.controls.ask(lambda: question(self.flow))

    def _train(self) -> None:
        options = self.options
        try:
            with single_threaded():
                fit(
                    self.flow, self.rows.train, validation=(self.rows.held_out,), steps=STEPS, batch_size=BATCH,
                    lr=options.learning_rate, decay=SlowDecay(), ema=None, patience=None,
                    validate_every=VALIDATE_EVERY, seed=options.seed, progress=False, callbacks=self._hear,
                )  # fmt: skip
                self.controls.end()  # before that is told, so that nobody resumes it meanwhile
                if not self.controls.stopped:
                    self._tell()
        except Exception as error:
            self.controls.end()
            if not self.controls.stopped:
                message, (state, _) = f"Training stopped. {_sentence(error)}", self.controls.status
                self._emit("train.failed", {"message": message, "run": self.run, "state": state})
        finally:
            self.controls.end()

    def _hear(self, event: Event) -> Stop | None:
        """Called by `fit` in the thread of the training."""
        if isinstance(event, Started):
            self._held_out = self._validate()
            self._tell()
        elif isinstance(event, Validated):
            self._held_out = None if event.record.validation is None else -event.record.validation
            return None
        elif isinstance(event, Stepped):
            self._count(event)
        else:
            return None
        goes_on = self.controls.wait(self._next, self._tell)
        self._began = time.monotonic()
        return None if goes_on else Stop("stopped by the user")

    def _count(self, event: Stepped) -> None:
        """One step is over."""
        now = time.monotonic()
        seconds = now - self._began
        self._seconds, self._step = self._seconds + seconds, event.step
        self._pace.count_step(seconds)
        before = event.loss if self._loss is None else self._loss
        self._loss = LOSS_MEMORY * before + (1 - LOSS_MEMORY) * event.loss
        limit = self.options.steps_per_second
        self._next = self._began + 1 / limit if limit else 0.0
        if not self.controls.paused and self._pace.is_due():
            self._tell()

    def _tell(self) -> None:
        state, running = self.controls.status
        start, busy = time.monotonic(), time.thread_time()
        share = self._pace.spent / max(self._seconds + self._pace.spent, 1e-9)
        data = {
            "run": self.run,
            "state": state,
            "step": self._step,
            "seconds": self._seconds,
            "loss": self._loss,
            "held_out": self._held_out,
            "steps_per_second": self._pace.steps_per_second,
            "events_share": share,
            "flow": flow_json(self.flow),
            "running": running,
        }
        self._held_out = None
        self._emit("train", data)
        self._pace.count_event(time.monotonic() - start, time.thread_time() - busy, self._size)

    def _validate(self) -> float:
        """The negative log-likelihood of the held-out rows before the first step, in nats."""
        with torch.no_grad():
            return -float(self.flow.log_prob(torch.as_tensor(self.rows.held_out)).mean())


def _sentence(error: Exception) -> str:
    """A sentence of `fit` as one of a page: without the name of the function, and with a capital letter."""
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    text = text.removeprefix("fit: ")
    return text[:1].upper() + text[1:]
