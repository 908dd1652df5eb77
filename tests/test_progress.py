"""The progress bar: one line of at most 80 columns that says how far a run is, and how long it will take."""

import io

import pytest
from rich.console import Console

from pushforward.train.events import Stepped, Validated
from pushforward.train.history import History, Record
from pushforward.train.progress import ProgressBar


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("value", [-1.5, -123_456.789])
def test_the_bar_fits_80_columns(monkeypatch, value, width):
    stream = io.StringIO()
    monkeypatch.setattr("rich.console.Console", lambda stderr: Console(file=stream, width=width, force_terminal=True))
    bar = ProgressBar(History())
    bar(Stepped(123_456, 0.5, 1.0, 1e-3))
    bar(Validated(123_456, 0.5, Record(123_456, 3.0, 60.0, -1.0, value, 1e-3), value, True))
    printed = Console(file=io.StringIO(), width=bar.bar.console.width)
    printed.print(bar.bar.get_renderable())
    (line,) = printed.file.getvalue().splitlines()
    assert len(line) <= 80
    for words in (" 50%", "left", "step 123,456", f"validation {value:.{3 if value > -1000 else 1}f} nats"):
        assert words in line
