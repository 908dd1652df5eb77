"""One progress bar that shows what matters: training and validation nats, and what is left of the budget."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from pushforward.train.history import Record

__all__ = ["Progress"]


class Progress:
    """A rich progress bar on standard error, or nothing at all.

    Args:
        show: whether to show the bar.
    """

    def __init__(self, show: bool) -> None:
        self.bar: Any = None
        if not show:
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.bar = Bar(
            TextColumn("fit"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("step {task.fields[step]}  {task.fields[nats]}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task("fit", total=1.0, step=0, nats="")

    def __enter__(self) -> Progress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, done: float, step: int) -> None:
        """Move the bar to ``done``, the part of the budget that is used, from 0 to 1."""
        if self.bar is not None:
            self.bar.update(self.task, completed=done, step=step)

    def record(self, record: Record, best: float | None) -> None:
        """Show the newest numbers."""
        if self.bar is None:
            return
        nats = f"train {record.train:.3f}"
        if record.validation is not None:
            nats += f"  validation {record.validation:.3f}"
        if best is not None:
            nats += f"  best {best:.3f} nats"
        self.bar.update(self.task, nats=nats)
