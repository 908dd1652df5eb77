"""The demo, with hardly any time to train: everything it promises is there."""

import re
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.cli import demo
from pushforward.cli.demo import draw_digits, run_demo


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
    model = pf.load(tmp_path / "power.safetensors")
    assert model.sample(3).shape == (3, 6)


class Echo:
    """Draws, for every class, images whose pixels are its number."""

    def sample(self, each: int, context: torch.Tensor) -> torch.Tensor:
        return (context.argmax(dim=-1).float() + 0.7)[None, :, None].expand(each, len(context), 64)


def test_digits_are_drawn_class_by_class() -> None:
    drawn = draw_digits(Echo(), 2)
    assert drawn.shape == (20, 64)
    assert drawn[:, 0].tolist() == [k for k in range(10) for _ in range(2)]
