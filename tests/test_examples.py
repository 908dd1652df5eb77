"""The examples run: each in small."""

import importlib.util
from pathlib import Path

import pytest
import torch

import pushforward as pf
from pushforward.distributions import StandardNormal
from pushforward.distributions.targets import TARGETS

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "family",
    ["sos", "nsf", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("bernstein", "naf", "umnn"))],
)
def test_universality_fits_come_closer_to_the_known_map(family):
    example = load("universality")
    assert family in example.FAMILIES
    torch.manual_seed(0)
    target, flow = TARGETS["banana"](), example.build(family, "small", 2)
    assert flow.bijection.is_triangular
    before = example.errors(flow, target)
    after = example.errors(example.fit(flow, target, 1000, 60), target)
    assert after["distance"] < before["distance"]
    assert after["divergence"] < before["divergence"]


def test_the_short_demonstration_of_universality_draws_its_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr("sys.argv", ["universality_short.py", "--steps", "3", "--out", str(tmp_path / "short.png")])
    load("universality_short").main()
    assert (tmp_path / "short.png").stat().st_size > 10_000
    shown = capsys.readouterr().out
    assert shown.count("nats\n") == 6


@pytest.mark.parametrize("posterior", ["normals", "flow"])
def test_an_autoencoder_bounds_from_below_what_averages_come_closer_to(posterior):
    example = load("vae_versus_flow")
    torch.manual_seed(0)
    inner = example.Posterior()
    if posterior == "flow":
        inner = pf.flows.iaf(example.LATENT, context=example.FEATURES, depth=1, hidden=(8,))
    model = example.VAE(StandardNormal(example.LATENT), inner, 3)
    features = torch.randn(5, example.FEATURES)
    z, log_q = inner.rsample_and_log_prob((), features, generator=None)
    if posterior == "normals":
        mean, log_scale = inner.linear(features).chunk(2, dim=-1)
        torch.testing.assert_close(log_q, torch.distributions.Normal(mean, log_scale.exp()).log_prob(z).sum(-1))
    else:
        torch.testing.assert_close(log_q, inner.log_prob(z, features))

    x = 255.0 * torch.randint(2, (32, 1, 28, 1)).expand(-1, 1, 28, 28)  # stripes, of one bit a row
    before = example.bits(model, x, 1)[0]
    pf.fit(model, x, validation=None, steps=25, lr=0.02, batch_size=16, progress=False, patience=None)
    after, tighter = (example.bits(model, x, draws)[0] for draws in (1, 30))
    assert 7.9 < before < 9
    assert tighter < after < before - 1
    drawn = model.sample(3)
    assert drawn.shape == (3, 1, 28, 28)
    assert ((drawn >= 0) & (drawn <= 255) & (drawn == drawn.round())).all()
