"""Properties of fast paths over every registered example and every named flow for which a kernel is registered."""

import properties_of_kernels as properties
import pytest
from cases import (
    BIJECTIONS,
    FLOW_SPECS,
    MORE_LAYERS,
    UNIVARIATES,
    bijection_of,
    firsts,
    inputs,
    label,
    needs_compiler,
    part_of,
    with_rest,
)

from pushforward.bijections import CurvedLift
from pushforward.core.dispatch import undecorated
from pushforward.kernels import compiled_step
from pushforward.testing import failures
from pushforward.univariate.base import MANY
from pushforward.univariate.mixture import MixtureCDF

ROWS = 37
ELEMENTWISE = [{"type": "Elementwise", "univariate": config, "features": 2} for config in UNIVARIATES]


def known(configs):
    """Those for which a kernel is registered."""
    return [config for config in configs if properties.known_types(part_of(config))]


def is_mixture(config):
    return config["univariate"]["type"] in ("GaussianMixtureCDF", "LogisticMixtureCDF")


def first_of_each(configs):
    """One config of each class of layer with each univariate: what else it says does not choose another kernel."""
    kinds = {(c["type"], c.get("univariate", {}).get("type"), c.get("conditioner")): c for c in reversed(configs)}
    return list(kinds.values())[::-1]


# Mixtures have a kernel of their own where points share their parameters. A flow is a chain of layers, which are tried
# by themselves: one of each way to compute goes through all of them in turn.
PASSES = ("coupling", "iaf", "maf", "nsf")
PARTS = [
    *first_of_each(known(BIJECTIONS)),
    *filter(is_mixture, known(ELEMENTWISE)),
    *(config for config in firsts(known(FLOW_SPECS)) if config["flow"] in PASSES),
]
REST = [config for config in known([*BIJECTIONS, *ELEMENTWISE, *MORE_LAYERS, *FLOW_SPECS]) if config not in PARTS]


@pytest.fixture(autouse=True)
def uncompiled_steps(monkeypatch):
    """Steps run as they are: what `torch.compile` makes of them is tested elsewhere, and takes seconds for each."""
    monkeypatch.setattr(compiled_step, "_compiled", undecorated)


@needs_compiler
@pytest.mark.parametrize("config", with_rest(PARTS, REST), ids=label)
def test_kernels_keep_every_property(config, subtests):
    bijection = bijection_of(config)
    tables = any(isinstance(part, MixtureCDF) for part in bijection.modules()) and "Elementwise" in config.values()
    arguments = inputs(bijection, (MANY if tables else ROWS,))
    checks = {prop.__name__: lambda prop=prop: prop(bijection, *arguments) for prop in properties.PROPERTIES}
    if any(isinstance(part, CurvedLift) for part in bijection.modules()):
        checks.pop("gives_the_same_tangents")  # its log-determinant is made of tangents itself, and torch nests none
    for name, error in failures(checks).items():
        with subtests.test(name):
            raise error
