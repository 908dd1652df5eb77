"""Options that several classes share: shown in signatures and help, recorded in configs, refused by name."""

import inspect
import json

import pytest

from pushforward import flows
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


SPACES = [
    (lambda **options: flows.cylinder_flow(2, [0], **options), "cylinder_flow", (64, 64)),
    (lambda **options: flows.torus_flow(2, **options), "torus_flow", (64, 64)),
    (lambda **options: flows.simplex_flow(3, **options), "simplex_flow", (128, 128)),
    (lambda **options: flows.box_flow([0.0], [1.0], **options), "box_flow", (128, 128)),
]


@pytest.mark.parametrize(("make", "name", "hidden"), SPACES)
def test_flows_on_other_spaces_share_them(make, name, hidden):
    function = getattr(flows, name)
    parameters = inspect.signature(function).parameters
    assert list(parameters)[-4:] == ["hidden", "conditioner", "activation", "dropout"]
    assert parameters["hidden"].default == hidden
    assert all(f"\n    {parameter}: " in function.__doc__ for parameter in parameters)
    assert "**options" not in function.__doc__
    assert make(dropout=0.1, hidden=(8,)).config != make(hidden=(8,)).config
    assert make(hidden=hidden).config == make().config
    with pytest.raises(TypeError, match=rf"^{name}: there is no option 'hiden'\. Did you mean 'hidden'\?"):
        make(hiden=(8,))
    with pytest.raises(ValueError, match=rf"^{name}: hidden must list at least one layer width"):
        make(hidden=())


def test_arguments_may_be_the_last_section():
    parameters = inspect.signature(lambda size, depth: None).parameters
    doc = documented("One line.\n\nArgs:\n    size: of it.", parameters, {"depth": "number of layers."})
    assert doc == "One line.\n\nArgs:\n    size: of it.\n    depth: number of layers."


def test_a_docstring_without_arguments_is_left_alone():
    assert documented("One line.", {}, {}) == "One line."
