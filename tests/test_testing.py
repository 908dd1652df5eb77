"""`pushforward.testing`: a user's parts get every property in one line, and a clear sentence where they do not fit."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn

from pushforward.bijections import LU, Bijection, Flip
from pushforward.core.config import REGISTRY, configurable
from pushforward.core.domain import REAL, Simplex
from pushforward.distributions import Distribution, Normal, StandardNormal
from pushforward.testing import bijection_properties, check_bijection, check_distribution, check_univariate
from pushforward.testing.quadrature import integrates_to_one
from pushforward.univariate import Affine, Univariate

CONTRIBUTING = Path(__file__).resolve().parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def registry(monkeypatch):
    """Classes that a test registers are gone afterwards."""
    monkeypatch.setattr("pushforward.core.config.REGISTRY", REGISTRY)
    before = dict(REGISTRY)
    yield
    for name in set(REGISTRY) - set(before):
        del REGISTRY[name]


@pytest.mark.usefixtures("registry")
def test_the_snippets_of_contributing_pass_when_pasted(tmp_path, monkeypatch):
    snippets = re.findall(r"^( *)```python\n(.*?)^ *```", CONTRIBUTING.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    shear, check = (textwrap.dedent(code) for _, code in snippets)
    (tmp_path / "shear_pasted.py").write_text(shear, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import shear_pasted

    exec(check, vars(shear_pasted))
    part = shear_pasted.Shear(3)
    with torch.no_grad():
        part.slope.copy_(torch.tensor([2.0, -1.0]))
    assert part(torch.tensor([1.0, 0.0, 0.0])).tolist() == [1.0, 2.0, -1.0]
    assert part.inverse(torch.tensor([1.0, 2.0, -1.0])).tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"^Shear: features must be .* at least 2; got 1\. One feature has nothing to"):
        shear_pasted.Shear(1)


@configurable
class Crooked(Bijection):
    """A map whose inverse forgets its shift and whose ladj is that of another map."""

    examples = ({"features": 2},)

    def __init__(self, features):
        super().__init__()
        self.in_shape = self.out_shape = (features,)
        self.shift = nn.Parameter(torch.zeros(features))

    def _forward_and_ladj(self, x, context):
        return x + self.shift, x.sum(-1)

    def _inverse_and_ladj(self, y, context):
        return y, -y.sum(-1)


def test_a_failure_names_every_property_that_fails_with_numbers():
    for part in (Crooked, Crooked(2)):
        with pytest.raises(AssertionError, match=r"^Crooked breaks 4 of 18 properties") as caught:
            check_bijection(part)
        message = str(caught.value)
        failed = ["round_trip", "inverse_ladj", "ladj_is_slogdet", "gradients_reach_every_parameter"]
        assert re.findall(r"^- (\w+):", message, re.MULTILINE) == failed
        assert "Greatest absolute difference" in message
        assert isinstance(caught.value.__cause__, AssertionError)


def test_an_error_inside_a_property_is_a_failure_of_it():
    class Breaks(Crooked):
        def _inverse_and_ladj(self, y, context):
            raise RuntimeError("no such thing")

    with pytest.raises(AssertionError, match=r"- round_trip: RuntimeError: no such thing"):
        check_bijection(Breaks(2))


def test_weights_are_drawn_anew_unless_they_are_to_be_kept():
    part = LU(2)
    with torch.no_grad():
        part.bias.fill_(torch.nan)
    check_bijection(part)
    assert part.bias.isnan().all(), "the part itself must stay as it is"
    with pytest.raises(AssertionError, match="round_trip"):
        check_bijection(part, keep_weights=True)


def test_points_and_context_may_be_given():
    check_bijection(Flip(2), x=torch.randn(8, 2))
    check_univariate(Affine(), x=torch.linspace(-2, 2, 9), params=torch.zeros(3, 9))
    check_distribution(Normal([0.0], [2.0]), keep_weights=True)
    with pytest.raises(ValueError, match=r"^check_bijection: x must hold at least 6 points; got 3\.$"):
        check_bijection(Flip(2), x=torch.randn(3, 2))


class Bare(Bijection):
    """Without examples and without a config."""

    def __init__(self):
        super().__init__()
        self.in_shape = self.out_shape = (2,)

    def _forward_and_ladj(self, x, context):
        return x, x.new_zeros(x.shape[:-1])

    _inverse_and_ladj = _forward_and_ladj


class BareUnivariate(Univariate):
    num_params = 0

    def forward(self, x, params):
        return x, torch.zeros_like(x)

    inverse = forward


class BareDistribution(Distribution):
    event_shape, support = (1,), REAL

    def _log_prob(self, x, context):
        return x.sum(-1)

    def _rsample(self, batch, context, generator):
        return torch.zeros(*batch, 1)


@pytest.mark.parametrize(
    ("check", "part"),
    [(check_bijection, Bare), (check_univariate, BareUnivariate), (check_distribution, BareDistribution)],
)
def test_a_class_without_examples_gets_a_clear_sentence(check, part, monkeypatch):
    name = check.__name__
    says = rf"^{name}: {part.__name__} has no examples\. Give the class JSON configs .*{name}\({part.__name__}\("
    with pytest.raises(ValueError, match=says):
        check(part)
    monkeypatch.setattr(part, "examples", ({},))
    with pytest.raises(ValueError, match=rf"^{name}: {part.__name__} is not registered\. Put @configurable above"):
        check(part)


@pytest.mark.parametrize(
    ("check", "part", "kind"),
    [
        (check_bijection, Affine(), "Bijection"),
        (check_bijection, 3, "Bijection"),
        (check_univariate, LU, "Univariate"),
        (check_distribution, LU(2), "Distribution"),
    ],
)
def test_another_kind_of_part_gets_a_clear_sentence(check, part, kind):
    with pytest.raises(ValueError, match=rf"^{check.__name__}: needs a {kind} or a class of them; got \w+\.$"):
        check(part)


def test_a_distribution_that_is_none_fails():
    with pytest.raises(AssertionError, match=r"^BareDistribution breaks [\s\S]*- integrates_to_one: the density"):
        check_distribution(BareDistribution())


def test_a_univariate_that_falls_fails():
    class Falling(BareUnivariate):
        def forward(self, x, params):
            return -x, torch.zeros_like(x)

        inverse = forward

    with pytest.raises(AssertionError, match=r"- increasing: y falls by"):
        check_univariate(Falling())


def test_the_listing_runs_one_property_at_a_time():
    properties = bijection_properties(LU(2).double(), torch.randn(8, 2, dtype=torch.float64))
    assert {"round_trip", "vmap_is_batch", "moves_whole"} <= set(properties)
    properties["round_trip"]()
    assert "vmap_is_batch" not in bijection_properties(LU(2), torch.randn(8, 2))  # in single precision


def test_no_test_framework_is_needed():
    code = """
        import sys
        sys.modules["pytest"] = sys.modules["hypothesis"] = None
        from pushforward.bijections import Flip
        from pushforward.testing import check_bijection
        check_bijection(Flip)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_a_support_without_a_grid_gets_a_clear_sentence():
    part = BareDistribution()
    part.support = Simplex()
    with pytest.raises(ValueError, match=r"^integrates_to_one: there is no grid for Simplex\(\)\. Leave the property"):
        integrates_to_one(part)


def test_the_simplest_distribution_passes():
    check_distribution(StandardNormal)
