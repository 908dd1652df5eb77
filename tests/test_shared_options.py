"""Options that several classes share: shown in signatures and help, recorded in configs, refused by name."""

import inspect
import json

import pytest

from pushforward.bijections import LU, PLU, QR, Diagonal, Householder, Orthogonal, Planar, Radial, Sylvester
from pushforward.core.config import build
from pushforward.core.shared_options import documented

SHARED = ["context", "hidden", "conditioner", "activation", "dropout"]
CLASSES = (LU, PLU, QR, Diagonal, Householder, Orthogonal, Planar, Radial, Sylvester)


@pytest.mark.parametrize("cls", CLASSES)
def test_shared_options_are_ordinary_ones(cls):
    """As saved models of earlier versions know them."""
    parameters = inspect.signature(cls).parameters
    assert list(parameters)[-5:] == SHARED
    assert [parameters[name].default for name in SHARED] == [0, (64, 64), "plain", "relu", 0.0]
    assert all(f"\n    {name}: " in cls.__doc__ for name in parameters)
    assert "**network" not in cls.__doc__
    config = {"type": cls.__name__, "features": 3, "context": 2, "hidden": [8], "dropout": 0.1}
    part = build(json.loads(json.dumps(config)))
    assert part.config == config
    assert part.context_shape == (2,)


MISTAKES = [
    (lambda: PLU(3, contxt=2), r"^PLU: there is no option 'contxt'\. Its arguments are features, permutation, context"),
    (lambda: Radial(3, widths=(8,)), r"^Radial: there is no option 'widths'\."),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_an_option_that_is_none_is_refused(mistake, message):
    with pytest.raises(TypeError, match=message):
        mistake()


def test_a_docstring_without_arguments_is_left_alone():
    assert documented("One line.", {}, {}) == "One line."
