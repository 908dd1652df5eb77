"""Transforms of torch as bijections: the numbers of torch, spaces, files, refusals."""

import json
import math

import pytest
import torch
import torch.distributions as td
from cases import generator
from torch.distributions import transforms as tt

import pushforward as pf
from pushforward.bijections import LU, Chain, Flip, Inverse, TorchTransform, from_torch_transform
from pushforward.core.config import build
from pushforward.core.domain import Interval, Simplex
from pushforward.distributions import Flow, StandardNormal
from pushforward.testing import check_bijection
from pushforward.testing.comparison import close

SCALE = torch.tensor([2.0, -0.5], dtype=torch.float64)
TRANSFORMS = {
    "exp": tt.ExpTransform(),
    "power": tt.ComposeTransform([tt.SoftplusTransform(), tt.PowerTransform(torch.tensor(1.5, dtype=torch.float64))]),
    "tanh": tt.TanhTransform(),
    "affine": tt.AffineTransform(torch.tensor([1.0, 2.0]), SCALE),
    "interval": td.biject_to(td.constraints.interval(-1.0, 3.0)),
    "inverse": tt.ComposeTransform([tt.SigmoidTransform(), tt.AffineTransform(1.0, 2.0).inv]),
    "independent": tt.IndependentTransform(tt.SigmoidTransform(), 1),
    "stick": tt.StickBreakingTransform(),
    "cat": tt.CatTransform([tt.ExpTransform(), tt.AffineTransform(0.5, -2.0)], dim=-1, lengths=[1, 1]),
    "reshape": tt.ReshapeTransform((2,), (2, 1)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_density_is_that_of_torch(name):
    transform = TRANSFORMS[name]
    flow = Flow(StandardNormal(2), transform).double()
    base = td.Independent(td.Normal(torch.zeros(2, dtype=torch.float64), 1.0), 1)
    reference = td.TransformedDistribution(base, [transform])
    x = flow.sample((20,), generator=generator(1))
    expected = reference.log_prob(x)
    close(flow.log_prob(x), expected.flatten(1).sum(1) if expected.ndim > 1 else expected, "log_prob")
    assert flow.support.contains(x).all()
    again = build(json.loads(json.dumps(flow.config))).double()
    assert torch.equal(again.log_prob(x), flow.log_prob(x))


STACK = tt.StackTransform([tt.ExpTransform(), tt.TanhTransform()], dim=-1)  # torch's own density of it fails


@pytest.mark.parametrize(
    "transform",
    [*(TRANSFORMS[name] for name in ("exp", "affine", "inverse", "stick")), STACK],
    ids=lambda t: str(t)[:20],
)
def test_it_keeps_the_properties_of_bijections(transform):
    check_bijection(from_torch_transform(transform, 2))


def affine(scale, event_dim):
    """With the scale as a Python number where it is one, which a tensor of no axes is not."""
    return tt.AffineTransform(0.5, scale if isinstance(scale, float) else torch.tensor(scale).double(), event_dim)


@pytest.mark.parametrize("event_dim", [0, 1, 2])
@pytest.mark.parametrize(
    "scale",
    [2.0, -2, [-2.0], [2.0, 0.5, -3.0], [[2.0], [0.5]], [[2.0, 0.5, -3.0]]],
    ids=["number", "scalar", "one", "row", "column", "matrix"],
)
@pytest.mark.parametrize("within", ["alone", "composed", "inverse", "learned", "independent"])
def test_log_determinants_of_affine_maps_count_each_entry(scale, event_dim, within):
    transform = affine(scale, event_dim)
    if within == "composed":
        transform = tt.ComposeTransform([tt.TanhTransform(), transform])
    if within == "inverse":
        transform = transform.inv
    if within == "learned":
        transform = tt.ComposeTransform([tt.AffineTransform(0.0, torch.ones((), requires_grad=True)), transform])
    if within == "independent" and event_dim < 2:
        transform = tt.IndependentTransform(transform, 2 - event_dim)
    bijection = from_torch_transform(transform, (2, 3)).double()
    x = torch.randn(4, 2, 3, dtype=torch.float64, generator=generator(1))
    y, ladj = bijection.forward_and_ladj(x)
    jacobian = torch.stack([torch.func.jacrev(bijection.forward)(row).reshape(6, 6) for row in x])
    close(ladj, jacobian.detach().slogdet().logabsdet, "ladj")
    close(bijection.inverse_and_ladj(y)[1], -ladj, "ladj of the inverse")


def test_a_number_as_scale_counts_for_each_feature():
    ladj = from_torch_transform(tt.AffineTransform(0.0, 2.0, event_dim=1), (3,)).forward_and_ladj(torch.zeros(3))[1]
    assert round(ladj.item(), 4) == round(3 * math.log(2), 4)


def test_spaces_are_those_of_the_images():
    assert Flow(StandardNormal(2), TRANSFORMS["interval"]).support == Interval(-1.0, 3.0)
    assert Flow(StandardNormal(2), tt.StickBreakingTransform()).support == Simplex()
    chain = Chain([LU(2), tt.SigmoidTransform(), tt.AffineTransform(1.0, SCALE)])
    assert chain.codomain.parts == (Interval(1.0, 3.0), Interval(0.5, 1.0))
    assert Flow(StandardNormal(2), chain).log_prob(torch.tensor([2.0, 1.5])) == -torch.inf
    assert build(chain.config).codomain == chain.codomain


def test_shapes_follow_from_either_neighbour_and_files_keep_them(tmp_path):
    chain = Chain([tt.TanhTransform().inv, LU(3), tt.ExpTransform(), Flip(3)])
    assert (chain.in_shape, chain.domain) == ((3,), Interval(-1.0, 1.0))
    pf.save(chain, tmp_path / "chain.safetensors")
    x = 2 * torch.rand(5, 3) - 1
    assert torch.equal(pf.load(tmp_path / "chain.safetensors")(x), chain(x))


@pytest.mark.parametrize("name", [*TRANSFORMS, "levels"])
@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)], ids=str)
def test_batches_without_rows(name, batch):
    """torch adds up log-slopes over an axis of size -1, which a tensor without entries leaves open."""
    levels = tt.ComposeTransform([tt.TanhTransform(), tt.IndependentTransform(tt.AffineTransform(1.0, 2.0), 1)])
    part = from_torch_transform(TRANSFORMS.get(name, levels))
    part.set_shape((2,))
    for bijection in (part, part.inv):
        x = torch.zeros(*batch, *bijection.in_shape)
        y, ladj = bijection.forward_and_ladj(x)
        assert y.shape == bijection(x).shape == (*batch, *bijection.out_shape)
        assert ladj.shape == batch
    flow = Flow(StandardNormal(2), part)
    assert flow.log_prob(flow.sample(batch)).shape == batch


def test_what_numbers_do_not_describe_works_but_is_not_saved(tmp_path):
    scale = torch.tensor(2.0, requires_grad=True)
    for transform in (tt.CumulativeDistributionTransform(td.Normal(0.0, 1.0)), tt.AffineTransform(0.0, scale)):
        flow = Flow(StandardNormal(2), Chain([LU(2), transform]))
        assert flow.log_prob(flow.sample(4)).isfinite().all()
        with pytest.raises(ValueError, match=r"^save: Flow holds a .*_AnyTorchTransform, whose class is not"):
            pf.save(flow, tmp_path / "flow.safetensors")
        part = from_torch_transform(transform, 2)
        close(part.inv(part(torch.ones(3, 2))), torch.ones(3, 2), "the inverse of what has no config")
        with pytest.raises(ValueError, match=r"^save: Inverse holds a .*_AnyTorchTransform, whose class is not"):
            pf.save(part.inv, tmp_path / "inverse.safetensors")
    flow.log_prob(torch.ones(2)).backward()
    assert scale.grad != 0


MISTAKES = [
    (lambda: Inverse(tt.ExpTransform()), r"^TorchTransform: nothing tells here which shape the events of ExpTransform"),
    (
        lambda: Flow(StandardNormal(2), tt.AbsTransform()),
        r"^TorchTransform: AbsTransform is not bijective\.",
    ),
    (
        lambda: Flow(StandardNormal(2), tt.AffineTransform(torch.zeros(3), 1.0)),
        r"^TorchTransform: AffineTransform does not take events of shape \(2,\): ",
    ),
    (
        lambda: from_torch_transform(tt.CorrCholeskyTransform(), 3),
        r"^TorchTransform: CorrCholeskyTransform from .* is no bijection between spaces of pushforward\.core\.domain",
    ),
    (
        lambda: from_torch_transform(tt.ComposeTransform([tt.SigmoidTransform(), tt.TanhTransform()]), 2),
        r"^TorchTransform: ComposeTransform from .* is no bijection between spaces",
    ),
    (
        lambda: TorchTransform("Nothing", {}),
        r"^TorchTransform: torch\.distributions\.transforms has no class",
    ),
    (lambda: TorchTransform("ExpTransform", {"rate": 1.0}), r"^TorchTransform: ExpTransform does not take these param"),
    (
        lambda: from_torch_transform(tt.CumulativeDistributionTransform(td.Normal(0.0, 1.0)), 0),
        r"^from_torch_transform: features must be a whole number of at least 1; got 0",
    ),
    (lambda: from_torch_transform(LU(2)), r"^from_torch_transform: needs a transform of torch; got LU\."),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistakes_are_refused_in_one_sentence(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake()


@pytest.mark.parametrize(
    ("transform", "y"),
    [
        (tt.ExpTransform(), 0.0),
        (tt.SoftplusTransform(), 0.0),
        (tt.TanhTransform(), 1.0),
        (tt.TanhTransform(), -1.0),
        (tt.CumulativeDistributionTransform(td.Normal(0.0, 1.0)), 0.0),
        (tt.ComposeTransform([tt.AffineTransform(0.0, 5.0), tt.TanhTransform()]), 1.0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_density_is_infinite_at_an_end_of_the_support(transform, y, dtype):
    flow = Flow(StandardNormal(1), transform).to(dtype)
    density = flow.log_prob(torch.tensor([[y]], dtype=dtype))
    assert density.item() == -torch.inf or density.item() < -20


def test_a_transform_is_built_on_the_meta_device():
    config = {"type": "TorchTransform", **TorchTransform.examples[0]}
    with torch.device("meta"):
        assert build(config).in_shape == (2,)
