"""The demo, with hardly any time to train: everything it promises is there."""

import math
import re
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.cli import demo
from pushforward.cli.demo import run_demo


def test_the_demo_writes_its_report_and_a_model_that_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [rows[:1_000] for rows in demo.power_sample()]
    monkeypatch.setattr(demo, "power_sample", lambda: few)
    lines: list[str] = []
    before = torch.get_rng_state()
    numbers = run_demo(tmp_path, seconds=2, progress=False, say=lines.append)
    assert torch.equal(before, torch.get_rng_state())
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") >= 8  # densities, columns, pairs, two learning curves, digits and the lecture's two
    assert not re.search(r"(src|href)=\"?https?:", page)
    for title in ("Household power: ", "Digits: ", "under invertible maps"):
        assert title in page
    told = "\n".join(lines)
    assert all(word in told for word in ("this model", "Gaussian", "Gaussian mixture", "report.html"))
    assert numbers.to_dict()["power"]["rows"] == 1_000
    digits = numbers.to_dict()["digits"]
    assert digits["bits"] == pytest.approx(-digits["log_likelihood"] / 64 / math.log(2))
    assert 0 <= digits["accuracy"] <= 1
    assert digits["bits"] < math.log2(17)  # less than grey values that are all equally likely
    model = pf.load(tmp_path / "power.safetensors")
    assert model.sample(3).shape == (3, 6)
