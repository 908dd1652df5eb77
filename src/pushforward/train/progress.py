"""A progress bar, as one callback among others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from pushforward.train.events import Event, Stepped, Validated
from pushforward.train.history import History

__all__ = ["ProgressBar", "advancing"]


WIDTH = 80
"""Columns of a terminal that the bar takes at most."""

Piece = TypeVar("Piece")


def advancing(pieces: Sequence[Piece], doing: str) -> Iterator[Piece]:
    """The pieces one after the other, and a line on standard error that says how many are done and how long the others
    may take; it goes away at the end. Where standard error is no terminal there is none."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    console.width = min(console.width, WIDTH)
    yield from track(pieces, doing, console=console, transient=True, disable=not console.is_terminal)


class ProgressBar:
    """A line on standard error: the used part of the budget, time so far and time left, step, and the number of the
    last validation (of the training rows where there are no others).

    Args:
        history: of the run; says what its numbers are.
    """

    def __init__(self, history: History) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = Console(stderr=True)
        console.width = min(console.width, WIDTH)
        self.unit, self.about = history.unit or history.metric, "" if history.exactness == "exact" else "≈"
        self.bar: Any = Progress(
            TextColumn("fit"),
            BarColumn(bar_width=None),  # what the others leave
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left  step {task.fields[step]:,}{task.fields[number]}"),
            console=console,
            expand=True,
        )
        self.task = self.bar.add_task("fit", total=1.0, step=0, number="")

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
            train, validation = event.record.train, event.record.validation
            name, value = ("train", train) if validation is None else ("validation", validation)
            number = f"  {name} {self.about}{value:.{3 if abs(value) < 1_000 else 1}f} {self.unit}"
            self.bar.update(self.task, completed=event.done, step=event.step, number=number)
