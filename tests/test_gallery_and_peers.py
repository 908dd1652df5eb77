"""Generated pages say what the registry says; targets of the plane and mixtures are what they say."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from cases import generator

from pushforward.bijections import DiscreteCosine, MatrixExponential
from pushforward.distributions import Flow, Mixture, Normal, StandardNormal, Uniform
from pushforward.distributions.targets import PLANE_TARGETS, entropy_on_grid, pinwheel, rings, two_spirals

DOCS = Path(__file__).resolve().parent.parent / "docs"
DTYPE = torch.float64


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- pages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gallery", "peers"])
def test_a_generated_page_is_up_to_date(name):
    page = load(f"make_{name}").page()
    assert (DOCS / f"{name}.md").read_text("utf-8") == page, f"run python docs/make_{name}.py"
    assert f"python docs/make_{name}.py" in page


def test_the_gallery_shows_every_map_or_says_why_not():
    gallery = load("make_gallery")
    assert gallery.missing() == []
    sheets = gallery.plane_maps()
    assert sum(map(len, sheets.values())) > 40
    for name in [*sheets, "univariates", "images", "surfaces", "start"]:
        assert (DOCS / "images" / f"gallery_{name}.png").stat().st_size > 1000


def test_the_pictures_of_the_gallery_are_small():
    assert sum(path.stat().st_size for path in (DOCS / "images").glob("gallery_*.png")) < 2e6


def test_a_map_without_a_picture_is_caught(monkeypatch):
    gallery = load("make_gallery")
    monkeypatch.delitem(gallery.NOT_SHOWN, "Stack")
    assert gallery.missing() == ["Stack"]


def test_every_name_in_the_table_of_peers_exists():
    peers = load("make_peers")
    assert peers.unknown_names() == []
    assert peers.left_out() == []
    assert peers.unexplained() == []


def test_a_wrong_name_in_the_table_is_caught(monkeypatch):
    peers = load("make_peers")
    row = peers.Row("", "Coupling(mask=), Couplig, Coupling(maks=), train.Mystery", {"zuko": "MAF"}, "")
    assert peers.unknown_names({"": [row]}) == ["Couplig", "Coupling(maks=)", "train.Mystery"]
    monkeypatch.setattr(peers, "ROWS", {"": [row]})
    assert "zuko: NSF stands in no row" in peers.left_out()
    monkeypatch.setattr(peers, "ROWS", {"": [row._replace(ours="", theirs={"zuko": "Mystery"})]})
    assert "zuko: there is no Mystery" in peers.left_out()
    assert len(peers.unexplained()) == 1


# --- targets of the plane --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANE_TARGETS)
def test_entropies_are_those_of_samples(name):
    target = PLANE_TARGETS[name]().to(DTYPE)
    entropy, mass = entropy_on_grid(target, bound=4.5, points=120)
    assert abs(mass - 1) < 1e-3
    surprise = -target.log_prob(target.sample((1000,), generator=generator(1)))
    assert abs(surprise.mean().item() - entropy) < 4 * surprise.std().item() / 1000**0.5 + 1e-4


def test_the_checkerboard_has_the_entropy_of_its_area():
    assert entropy_on_grid(PLANE_TARGETS["checkerboard"](), bound=4.5, points=120)[0] == pytest.approx(
        math.log(18), abs=1e-5
    )


def test_targets_look_as_they_are_called():
    """Points lie near the curves: near circles, and near the arms of spirals, whose radius grows with the angle."""
    radius = rings().sample((500,), generator=generator(1)).norm(dim=-1)
    assert (radius - 0.8 * (radius / 0.8).round()).abs().mean() < 0.12
    x = two_spirals().sample((500,), generator=generator(1))
    phase = torch.atan2(x[:, 1], x[:, 0]) - math.pi * x.norm(dim=-1)  # the same modulo π on both arms
    assert torch.stack([(2 * phase).cos(), (2 * phase).sin()]).mean(dim=1).norm() > 0.7
    assert pinwheel(3).bijection.loc.shape == (30, 2)


# --- mixtures --------------------------------------------------------------------------------------------------------


def test_a_mixture_of_normals_has_their_weighted_density():
    mixture = Mixture([Normal([-1.0]), Normal([2.0], scale=[0.5])], [1.0, 3.0]).to(DTYPE)
    x = torch.linspace(-4, 4, 9, dtype=DTYPE)[:, None]
    first = torch.distributions.Normal(-1.0, 1.0).log_prob(x[:, 0]).exp()
    second = torch.distributions.Normal(2.0, 0.5).log_prob(x[:, 0]).exp()
    torch.testing.assert_close(mixture.log_prob(x).exp(), 0.25 * first + 0.75 * second)
    share = (mixture.sample((4000,), generator=generator(1)) > 1).double().mean().item()
    assert abs(share - 0.75 * 0.977 - 0.25 * 0.023) < 4 * 0.5 / 4000**0.5


def test_rows_between_the_parts_poison_no_gradient():
    mixture = Mixture([Uniform([0.0], [1.0]), Uniform([2.0], [3.0])])
    log_prob = mixture.log_prob(torch.tensor([[0.5], [1.5]]))
    assert log_prob[1] == -torch.inf
    log_prob[0].backward()
    assert mixture.logits.grad.isfinite().all()
    assert mixture.logits.grad.abs().min() > 0.1


def test_a_mixture_can_be_a_base():
    flow = Flow(Mixture([StandardNormal(2), Uniform([2.0, 2.0], [3.0, 3.0])]), MatrixExponential(2))
    assert flow.log_prob(flow.sample((5,))).isfinite().all()


# --- linear maps -----------------------------------------------------------------------------------------------------


def test_the_cosine_transform_is_that_of_scipy():
    from scipy.fft import dct

    x = torch.randn(4, 6, dtype=DTYPE, generator=generator(1))
    expected = torch.from_numpy(dct(x.numpy(), norm="ortho"))
    torch.testing.assert_close(DiscreteCosine(6).to(DTYPE)(x), expected)


def test_the_matrix_exponential_has_the_determinant_of_its_trace():
    layer = MatrixExponential(3, bound=2.0).to(DTYPE)
    with torch.no_grad():
        layer.exponent.copy_(torch.randn(3, 3, dtype=DTYPE, generator=generator(1)))
    x = torch.randn(3, dtype=DTYPE, generator=generator(2))
    matrix = torch.autograd.functional.jacobian(layer, x)
    bounded = 2 * torch.tanh(layer.exponent / 2)
    total = term = torch.eye(3, dtype=DTYPE)
    for k in range(1, 40):
        term = term @ bounded / k
        total = total + term
    torch.testing.assert_close(matrix, total)
    torch.testing.assert_close(layer.forward_and_ladj(x)[1], torch.linalg.slogdet(matrix)[1])


def test_a_benchmark_counts_density_zero_as_an_infinite_loss(monkeypatch):
    folder = DOCS.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("benchmark_of_targets", folder / "targets.py")
    targets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(targets)
    log_prob = torch.tensor([-1.0, -3.0, torch.nan])
    score = targets.scored(log_prob, -log_prob)
    assert (score["nll"], score["unsolved"], score["impossible"]) == (2.0, 1, 0)
    log_prob = torch.tensor([-1.0, -3.0, -torch.inf, torch.nan])
    score = targets.scored(log_prob, -log_prob)
    assert (score["nll"], score["unsolved"], score["impossible"]) == (math.inf, 1, 1)
    assert math.isfinite(score["error"])
