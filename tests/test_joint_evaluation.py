"""What mixed-type models compute for many columns at once is what each column computes by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from pushforward.cli import main
from pushforward.core import waiting_threads
from pushforward.core.waiting_threads import SETTINGS
from pushforward.distributions import (
    Bounded,
    Categorical,
    Circular,
    Continuous,
    Inflated,
    Integer,
    MixedTypeModel,
    Positive,
    ZeroInflated,
)
from pushforward.distributions.columns.terms import evaluate_together
from pushforward.distributions.mixed.linear import LinearPart
from pushforward.univariate import Affine, LogisticMixtureCDF
from pushforward.univariate.distribution import distribution_of


def types():
    return [
        Integer(0, 9),
        Categorical(3),
        Inflated(Integer(), [2.0, 5.0]),
        Continuous(),
        ZeroInflated(Positive()),
        Categorical(100),
        Bounded(0.0, 12.0, univariate=Affine()),
        Categorical(3),
        Circular(12.0),
        Continuous(),
    ]


def table(n):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(1, 9, (n, 10), generator=generator).double()
    x[:, [1, 7]] %= 3
    x[:, 4] *= x[:, 4] > 2
    return x


def started(n=200):
    model = MixedTypeModel(types(), hidden=(16, 16))
    model.initialize(table(n))
    return model.network


def test_inputs_of_all_columns_are_those_of_each():
    network, x = started(), table(50).t()
    each = {}
    for column_type, group in network.columns:
        each.update(zip(group, column_type.encode(x[group]).unbind(), strict=True))
    assert torch.equal(network.columns.encode(x), torch.cat([each[j] for j in range(10)]))


def test_log_probabilities_of_all_columns_are_those_of_each():
    network, x = started(), table(50).t()
    params = network.params(network.encode(x), torch.rand(x.shape) < 0.5)
    together = network.evaluate("log_prob", x, params)
    for (column_type, group), p in zip(network.columns, params, strict=True):
        assert torch.allclose(together[group], column_type.log_prob(x[group], p), atol=1e-5)


def test_parameters_of_some_columns_are_those_of_all():
    for order in ("any", "fixed"):
        model = MixedTypeModel(types(), hidden=(16, 16), order=order).double()
        model.initialize(table(200))
        for parameter in model.network.network.last.parameters():
            torch.nn.init.normal_(parameter)
        network, x = model.network, table(20).t()
        encoded, observed = network.encode(x), torch.rand(x.shape) < 0.5
        whole = network.params(encoded, observed)
        some = network.params(encoded, observed, [2, 3, 7])
        for k, i, j in ((network.columns.place[c] + (c,)) for c in (2, 3, 7)):
            inside = [c for c in network.columns.positions[k] if c in (2, 3, 7)]
            assert torch.allclose(some[k][:, inside.index(j)], whole[k][:, i])
            single = network.params_of(j, encoded, observed)[:, 0]
            assert torch.allclose(single, whole[k][:, i])


def test_terms_of_unequal_distributions_are_evaluated_apart():
    x, columns = torch.rand(1, 5, dtype=torch.float64), [Continuous(), Continuous(Affine()), Integer()]
    parts = [column.in_terms(x, torch.zeros(column.num_params, 1, 5)) for column in columns]
    for value, part in zip(evaluate_together(parts), parts, strict=True):
        assert torch.equal(value, part.evaluate())


@pytest.mark.parametrize("name", ["density", "mass", "lower tail", "upper tail"])
def test_slopes_that_come_with_the_value_are_those_of_autograd(name):
    distribution = distribution_of(LogisticMixtureCDF(5, log_widths=7.0).double())
    generator = torch.Generator().manual_seed(0)
    params = (2 * torch.randn(15, 3, 40, generator=generator, dtype=torch.float64)).requires_grad_()
    x = 3 * torch.randn(3, 40, generator=generator, dtype=torch.float64)
    x[0, :4] = torch.tensor([0.0, 1e5, -1e5, 300.0])
    width = torch.rand(3, 40, generator=generator, dtype=torch.float64) + 1e-6

    def values(fast):
        if name == "density":
            return (distribution.log_density if fast else distribution._log_density)(x, params)
        if name == "mass":
            function = distribution.log_mass if fast else distribution._log_mass
            return function(x, x + width, params, width)
        upper = name == "upper tail"
        return distribution.log_tail(x, params, upper) if fast else distribution._log_tail(x, upper, params)

    assert values(True).grad_fn.name().startswith("_WithSlopes")
    assert torch.allclose(values(True), values(False), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(values(True), values(False), rtol=1e-12, atol=1e-12)
    weight = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    slopes = [torch.autograd.grad(values(fast), params, weight, create_graph=True)[0] for fast in (True, False)]
    assert torch.allclose(*slopes, rtol=1e-9, atol=1e-12)
    second = [torch.autograd.grad(slope.square().sum(), params)[0] for slope in slopes]
    assert torch.allclose(*second, rtol=1e-8, atol=1e-10)


def test_the_linear_part_of_many_columns_is_that_of_each_row():
    count, n = 24, 60
    generator = torch.Generator().manual_seed(0)
    t = torch.randn(count, 400, generator=generator, dtype=torch.float64)
    part = LinearPart(count).eval()
    part.measure(torch.cumsum(t, dim=0), None)
    places, seen = torch.cumsum(t, dim=0)[:, :n], torch.rand(count, n, generator=generator) < 0.6
    seen[:, 0], seen[:, 1] = False, True
    mean, log_deviation = part(places, seen)
    standard, r = part._standardize(places), part.correlation
    for i in range(0, n, 7):
        s, rest = seen[:, i].nonzero()[:, 0], (~seen[:, i]).nonzero()[:, 0]
        weights = torch.linalg.solve(r[s][:, s], r[s][:, rest])
        expected = part.centre[rest, 0] + part.width[rest, 0] * (weights.t() @ standard[s, i])
        leverage = (1 + standard[s, i] @ torch.linalg.solve(r[s][:, s], standard[s, i])) / 400
        variance = (1 - (weights * r[s][:, rest]).sum(dim=0)) * (1 + leverage)
        assert torch.allclose(mean[rest, i], expected)
        assert torch.allclose(log_deviation[rest, i], part.width[rest, 0].log() + 0.5 * variance.log(), atol=1e-7)


def test_the_command_line_lets_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pushforward", "--version"])
    monkeypatch.setattr(waiting_threads, "sys", SimpleNamespace(modules={}))  # as if torch had not been loaded yet
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with pytest.raises(SystemExit):
        main()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_estimators_let_them_sleep_too():
    code = "import os; from pushforward.estimators import FlowDensity; print(os.environ.get('OMP_WAIT_POLICY'))"
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    for before, expected in (("", "PASSIVE"), ("import torch; ", "None")):
        done = subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, env=environment)
        assert done.stdout.strip() == expected, done.stderr
