"""A progress bar, as one callback among others."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from pushforward.train.events import Event, Stepped, Validated
from pushforward.train.history import History

__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar on standard error with the used part of the budget, and the numbers of the last validation.

    Args:
        history: of the run; says what its numbers are.
    """

    def __init__(self, history: History) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.unit, self.about = history.unit or history.metric, "" if history.exactness == "exact" else "≈"
        self.bar: Any = Progress(
            TextColumn("fit"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("step {task.fields[step]}  {task.fields[numbers]}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("fit", total=1.0, step=0, numbers="")

    def __enter__(self) -> ProgressBar:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Stepped):
            self.bar.update(self.task, completed=event.done, step=event.step)
        elif isinstance(event, Validated):
            parts = [("train", event.record.train), ("validation", event.record.validation), ("best", event.best)]
            numbers = "  ".join(f"{name} {self.about}{value:.3f}" for name, value in parts if value is not None)
            self.bar.update(self.task, completed=event.done, step=event.step, numbers=f"{numbers} {self.unit}")
