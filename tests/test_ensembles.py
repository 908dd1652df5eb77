"""Models of equal structure side by side."""

import math

import pytest
import torch
import torch.distributions as td
from cases import generator, randomize
from torch.distributions import AffineTransform

import pushforward as pf
from pushforward.distributions import (
    Categorical,
    Continuous,
    Ensemble,
    Flow,
    MixedTypeModel,
    Normal,
    Resampled,
    StandardNormal,
    StudentT,
    Uniform,
    from_torch,
)
from pushforward.testing.comparison import SHARP, close


def members(name="nsf", context=0, count=3, **options):
    options = {"depth": 2, "hidden": (8,), **options}
    return [randomize(pf.flows.FLOWS[name](2, context, **options), seed=k, size=0.5) for k in range(count)]


@pytest.mark.parametrize(
    ("name", "context"), [("nsf", 0), ("nsf", 2), ("maf", 1), ("glow", 0), ("gaussianization", 0), ("residual_flow", 1)]
)
def test_an_ensemble_is_the_mixture_of_its_members(name, context):
    if name == "glow":
        each = [randomize(pf.flows.glow((1, 2, 2), levels=1, depth=1, hidden=(4, 4)), seed=k) for k in range(3)]
    else:
        each = members(name, context)
    whole = pf.ensemble(each).eval()
    x = torch.randn(5, *whole.event_shape, dtype=torch.float64, generator=generator(1))
    c = torch.randn(5, context, dtype=torch.float64, generator=generator(2)) if context else None
    separate = torch.stack([member.log_prob(x, c) for member in each])
    close(whole.member_log_probs(x, c), separate, "each member", SHARP)
    close(whole.log_prob(x, c), torch.logsumexp(separate, 0) - math.log(3), "the mixture", SHARP)
    mean, spread = whole.mean_and_spread(x, c)
    close(mean, separate.mean(0), "mean", SHARP)
    close(spread, separate.std(0), "spread", SHARP)
    assert (spread > 0.01).any()
    assert (mean <= whole.log_prob(x, c)).all()


def other_constants():
    """Members with weights of equal shapes that differ in something else."""
    x = torch.tensor([[2.0], [4.0]])
    order = [MixedTypeModel([Categorical(2), Continuous()], hidden=(4, 4), order="any") for _ in range(2)]
    order[1].network.set_sequence([1, 0])
    scaled = [Flow(StandardNormal(1), AffineTransform(0.0, scale)) for scale in (1.0, 3.0)]
    return {
        "bound": (members(count=1, bound=3.0) + members(count=1, bound=6.0), torch.full((3, 2), 4.0)),
        "activation": ([members(activation=name, count=1)[0] for name in ("relu", "tanh")], torch.randn(3, 2)),
        "learned order": ([randomize(model) for model in order], torch.tensor([[1.0, 0.3], [0.0, 2.0]])),
        "transforms": (scaled, x),
        "no weights": ([Uniform([0.0], [5.0]) for _ in range(2)], x),
        "fixed tails": ([StudentT(1, df=df, learn_df=False) for df in (2.0, 9.0)], x),
        "of torch": ([from_torch(td.Laplace(torch.zeros(1), scale)) for scale in (1.0, 2.0)], x),
    }


@pytest.mark.parametrize("name", other_constants())
def test_members_keep_what_is_no_weight(name):
    each, x = other_constants()[name]
    each = [member.eval().double() for member in each]
    x = x.double()
    whole = pf.ensemble(each).eval()
    separate = torch.stack([member.log_prob(x) for member in each])
    assert name == "no weights" or (separate[0] != separate[1]).any()
    close(whole.member_log_probs(x), separate, "each member", SHARP)
    assert whole.sample(3).shape == (3, *whole.event_shape)


def test_members_of_one_call_are_one_pass(monkeypatch):
    """Whatever was computed before with one of them."""
    for name in ("nsf", "maf", "gaussianization"):
        each = members(name)
        each[0].log_prob(torch.zeros(2, dtype=torch.float64))
        calls = []
        monkeypatch.setattr(Flow, "_log_prob", lambda self, *a, f=Flow._log_prob, n=calls: n.append(1) or f(self, *a))
        pf.ensemble(each).eval().log_prob(torch.zeros(2, dtype=torch.float64))
        assert len(calls) == 1
        monkeypatch.undo()


def test_points_come_from_all_members():
    whole = Ensemble([Normal([float(k)], [0.01]) for k in (0, 5, 9)])
    x = whole.sample(3000, generator=generator(1)).flatten()
    for place in (0, 5, 9):
        assert abs(((x - place).abs() < 1).double().mean() - 1 / 3) < 0.04
    assert torch.equal(x, whole.sample(3000, generator=generator(1)).flatten())
    assert whole.log_prob(torch.tensor([torch.nan])).isnan()


def test_members_learn_together_as_they_would_alone_and_files_keep_them(tmp_path):
    x = torch.randn(200, 2, generator=generator(1)) @ torch.tensor([[1.0, 0.5], [0.0, 2.0]])

    def fresh():
        flows = [randomize(pf.flows.maf(2, depth=1, hidden=(8,)), seed=k, dtype=torch.float32) for k in range(2)]
        return [flow.train() for flow in flows]

    together, alone = pf.ensemble(fresh()), fresh()
    together.initialize(x)
    optimizer = torch.optim.SGD(together.parameters(), 0.02)
    for _ in range(3):
        optimizer.zero_grad()
        (-2 * together(x, generator=generator(0)).mean()).backward()
        optimizer.step()
    for flow, member in zip(alone, together.members, strict=True):
        flow.initialize(x)
        optimizer = torch.optim.SGD(flow.parameters(), 0.02)
        for _ in range(3):
            optimizer.zero_grad()
            (-flow.log_prob(x).mean()).backward()
            optimizer.step()
        for a, b in zip(flow.parameters(), member.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    before = together.log_prob(x).mean().item()
    pf.fit(together, x, steps=40, lr=1e-2, progress=False)
    assert together.log_prob(x).mean().item() > before
    pf.save(together, tmp_path / "ensemble.safetensors")
    loaded = pf.load(tmp_path / "ensemble.safetensors")
    assert torch.equal(loaded.log_prob(x), together.eval().log_prob(x))


MISTAKES = [
    (lambda: pf.ensemble([StandardNormal(2)]), r"^Ensemble: members must list two or more distributions\."),
    (lambda: pf.ensemble([StandardNormal(2), 3]), r"^Ensemble: members must list two or more distributions\."),
    (lambda: pf.ensemble([Normal([0.0]), Normal([0.0, 1.0])]), r"^Ensemble: members must be built alike, with weights"),
    (lambda: pf.ensemble([Uniform([0.0], [k]) for k in (1.0, 2.0)]), r"^Ensemble: members must be built alike, .* and"),
    (lambda: pf.ensemble([StandardNormal(k) for k in (1, 2)]), r"^Ensemble: members must be built alike, with weights"),
    (
        lambda: pf.ensemble([Resampled(StandardNormal(1), hidden=(4,)) for _ in range(2)]),
        r"^Ensemble: log-densities of Resampled draw random numbers\.",
    ),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistakes_are_refused_in_one_sentence(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()
