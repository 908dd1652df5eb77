"""Domains: their intrinsic dimension, the measure of densities on them, and what flows make of both."""

import math

import pytest
import torch
from cases import generator

from pushforward.bijections import Angle, Chain, Flip, RadialSquash, Standardize
from pushforward.core.bijection import Bijection
from pushforward.core.config import configurable
from pushforward.core.distribution import Distribution
from pushforward.core.domain import REAL, Ball, Circle, Integers, Interval, Product, Real, Simplex, Sphere
from pushforward.core.entries import product
from pushforward.core.sorted import Sorted
from pushforward.core.spaces import SpaceProduct
from pushforward.core.surface import Surface
from pushforward.distributions import CircularUniform, Flow, StandardNormal

DIMENSIONS = [
    (REAL, (), 1, "Lebesgue"),
    (REAL, (3,), 3, "Lebesgue"),
    (REAL, (3, 4, 5), 60, "Lebesgue"),
    (Interval(0.0, 1.0), (3,), 3, "Lebesgue"),
    (Circle(), (2,), 2, "Lebesgue"),
    (Ball(), (3,), 3, "Lebesgue"),
    (Ball(), (2, 3), 6, "Lebesgue"),
    (Sphere(), (3,), 2, "surface"),
    (Sphere(), (4, 3), 8, "surface"),
    (Simplex(), (3,), 2, "Lebesgue"),
    (Simplex(), (5, 2), 5, "Lebesgue"),
    (Integers(0, 9), (3,), 0, "counting"),
    (Product((REAL, Interval(0.0, 1.0))), (2,), 2, "Lebesgue"),
    (Product((REAL, Integers(0, 1), Circle())), (3,), 2, "product"),
    (Product((REAL, Integers(0, 1), Circle())), (4, 3), 8, "product"),
    (Product((Integers(0, 1), Integers(0, 2))), (2,), 0, "counting"),
    (Product((REAL, Integers(0, 1)), (1, 2)), (1, 2), 1, "product"),
]


@pytest.mark.parametrize(("domain", "shape", "dimension", "measure"), DIMENSIONS, ids=str)
def test_dimension_and_measure(domain, shape, dimension, measure):
    assert domain.dimension(shape) == dimension
    assert domain.measure == measure


@pytest.mark.parametrize(("domain", "shape", "dimension", "_"), DIMENSIONS, ids=str)
def test_the_dimension_is_the_rank_of_differences(domain, shape, dimension, _):
    """Differences of many points of a set span a space at least as large as its dimension; of a flat set, as large."""
    if isinstance(domain, Integers) or not shape:
        return
    x = domain.example((200, *shape), generator(1)).double().flatten(1)
    rank = int(torch.linalg.matrix_rank(x[1:] - x[0], rtol=1e-8))
    discrete = sum(isinstance(part, Integers) for part in getattr(domain, "parts", ())) * math.prod(shape[:-1])
    curved = math.prod(shape[:-1]) if isinstance(domain, Sphere) else 0
    assert rank == dimension + curved + discrete


def test_a_product_of_one_domain_is_that_domain():
    assert product((REAL, REAL), (2,)) == REAL
    assert product((REAL, Circle()), (2,)) == Product((REAL, Circle()))
    assert product((REAL, Circle()), (1, 2)) == Product((REAL, Circle()), (1, 2))


# --- flows keep the dimension ----------------------------------------------------------------------------------------


@configurable
class OnSphere(Distribution):
    """The uniform distribution on the unit sphere."""

    support = Sphere()

    def __init__(self, features):
        super().__init__()
        self.event_shape = (features,)

    def _log_prob(self, x, context):
        half = x.shape[-1] / 2
        return x.new_full(x.shape[:-1], math.lgamma(half) - math.log(2) - half * math.log(math.pi))

    def _rsample(self, batch, context, generator):
        z = torch.randn((*batch, *self.event_shape), generator=generator, dtype=torch.float64)
        return z / z.norm(dim=-1, keepdim=True)


@configurable
class Stereographic(Bijection):
    """R^(d-1) to the unit sphere in R^d, with the log-ratio of surface to volume."""

    codomain = Sphere()

    def __init__(self, features):
        super().__init__()
        self.in_shape, self.out_shape = (features - 1,), (features,)

    def _forward_and_ladj(self, x, context):
        square = x.square().sum(-1, keepdim=True)
        y = torch.cat([2 * x, square - 1], dim=-1) / (square + 1)
        return y, x.shape[-1] * (math.log(2) - square[..., 0].log1p())

    def _inverse_and_ladj(self, y, context):
        x = y[..., :-1] / (1 - y[..., -1:])
        return x, -self._forward_and_ladj(x, context)[1]


def test_a_chart_of_the_sphere_has_the_dimension_of_its_base():
    flow = Flow(StandardNormal(2).double(), Stereographic(3))
    x = flow.sample((5,), generator=generator(1))
    assert flow.log_prob(x).isfinite().all()
    # The density integrates to one over the sphere.
    points = OnSphere(3).sample((40000,), generator=generator(2))
    ratio = (flow.log_prob(points) - OnSphere(3).log_prob(points)).exp()
    assert ratio.mean().item() == pytest.approx(1.0, abs=5 * ratio.std().item() / 200)


def test_a_change_of_variables_keeps_the_dimension():
    @configurable
    class Widening(Stereographic):
        codomain = Real()

    match = (
        r"^Flow: a change of variables keeps the dimension, but base has dimension 2 \(Real\(\)\) and bijection ends "
        r"in dimension 3 \(Real\(\)\)\. Choose a base of dimension 3\."
    )
    with pytest.raises(ValueError, match=match):
        Flow(StandardNormal(2), Widening(3))
    with pytest.raises(ValueError, match=r"^Flow: a change of variables .* base has dimension 2 \(Sphere\(\)\)"):
        Flow(OnSphere(3), Flip(3))

    @configurable
    class Bounding(Widening):
        log_det = "bound"

    Flow(StandardNormal(2), Bounding(3))  # a surjection may change it


def test_flows_of_equal_dimension_are_built():
    for flow in (
        Flow(CircularUniform(2), Angle(2, period=24.0).inv),
        Flow(StandardNormal(2), RadialSquash(2)),
        Flow(StandardNormal((2, 3)), Chain([Standardize((2, 3)), Flip((2, 3), axis=0)]).inv),
    ):
        assert flow.support.dimension(flow.event_shape) == flow.base.support.dimension(flow.base.event_shape)


WHY_OUTSIDE = [
    (Interval(0.0, 1.0), [0.5, 2.0], "column 1 is 2, outside of [0, 1]. Leave"),
    (Interval(-math.inf, 1.0), [0.5, 2.0], "column 1 is 2, outside of (-inf, 1]. Leave"),
    (Interval(0.0, math.inf), [-0.5, 2.0], "column 0 is -0.5, outside of [0, inf). Leave"),
    (Integers(0, 9), [3.0, 2.5], "column 1 is 2.5, outside of the whole numbers from 0 to 9. Leave"),
    (Circle(), [4.0], "column 0 is 4, outside of [-3.14159265, 3.14159265). Wrap angles: (x + torch.pi) %"),
    (Circle(0.0, 24.0), [24.0], "column 0 is 24, outside of [0, 24). Wrap angles: x % 24."),
    (Circle(-180.0, 180.0), [200.0], "column 0 is 200, outside of [-180, 180). Wrap angles: (x + 180) % 360 - 180."),
    (Circle(1.0, 13.0), [0.0], "column 0 is 0, outside of [1, 13). Wrap angles: (x - 1) % 12 + 1."),
    (Ball(), [[0.0, 0.5], [3.0, 4.0]], "columns 2 to 3 are (3, 4), of length 5, outside of the open ball of radius 1."),
    (Sphere(), [[0.0, 1.0], [3.0, 4.0]], "columns 2 to 3 are (3, 4), of norm 5, where points of the unit sphere"),
    (Simplex(), [-0.5, 0.75], "columns 0 to 1 are (-0.5, 0.75), the least of them -0.5 and their sum 0.25, where"),
    (Simplex(), [1.0] * 7, "columns 0 to 6 are (1, 1, 1, 1, 1, 1, ...), the least of them 1 and their sum 7, where"),
    (Sorted(), [1.0, 3.0, 2.0], "columns 0 to 2 are (1, 3, 2), which decrease somewhere. Sort"),
    (Product((REAL, Interval(0.0, 1.0))), [[9.0, 0.5], [0.0, 9.0]], "column 3 is 9, outside of [0, 1]."),
    (Surface(Interval(0.0, 1.0), 1), [0.5, 2.0], "column 1 is 2, outside of [0, 1]."),
    (SpaceProduct((Circle(0.0, 1.0), Sphere()), (2, 2)), [0.5, 0.5, 3.0, 4.0], "columns 2 to 3 are (3, 4), of norm 5"),
    (SpaceProduct((Sphere(), Circle(0.0, 1.0)), (2, 2)), [0.0, 1.0, 0.5, 4.0], "column 3 is 4, outside of [0, 1)."),
]


@pytest.mark.parametrize(("domain", "event", "words"), WHY_OUTSIDE, ids=str)
def test_a_domain_says_why_a_point_lies_outside(domain, event, words):
    event = torch.tensor(event)
    assert domain.why_outside(event).startswith(words)
    inside = domain.example(tuple(event.shape), generator(1))
    assert domain.why_outside(inside) == ""


def test_a_domain_of_the_user_says_that_a_point_lies_outside():
    class Even(Integers):
        def contains(self, x):
            return super().contains(x) & (x % 2 == 0)

    assert Even(0, 9).why_outside(torch.tensor([2.0, 3.0]), first=4).startswith("column 5 is 3, outside of the whole")
    assert REAL.why_outside(torch.tensor([2.0])) == ""
