"""The options that named flows share: one table of types, default values and documentation."""

import functools
import inspect
import pydoc
import re
from typing import get_type_hints

import pytest

import pushforward as pf
from pushforward.flows import FLOWS, Options
from pushforward.flows.options import DEFAULTS, DOCUMENTATION
from pushforward.flows.registry import _documented

each = pytest.mark.parametrize("name", sorted(FLOWS))


def test_every_shared_option_has_a_type_a_default_and_a_sentence():
    assert get_type_hints(Options).keys() == DEFAULTS.keys() <= DOCUMENTATION.keys()


@each
def test_help_describes_every_parameter_once(name):
    text = inspect.getdoc(FLOWS[name])
    section = text.split("Args:\n")[1].split("\n\n")[0]
    parameters = inspect.signature(FLOWS[name]).parameters
    assert re.findall(r"^ {4}(\w+): ", section, re.MULTILINE) == list(parameters)
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert all(part in text for part in (".. math::", " cost ", "\nRaises:\n", "\nReferences:\n"))
    shown = pydoc.plain(pydoc.render_doc(FLOWS[name]))
    assert "data_dtype: str | None = None" in shown
    assert shown.count("data_dtype: ``") == 1


@each
def test_source_docstrings_do_not_repeat_what_is_shared(name):
    source = inspect.getsource(FLOWS[name])
    assert not [option for option, sentence in DOCUMENTATION.items() if f"{option}: {sentence[:30]}" in source]


@each
def test_default_values_in_the_signature_are_those_that_are_used(name):
    parameters = inspect.signature(FLOWS[name]).parameters
    defaults = {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert FLOWS[name](3, 2).config == FLOWS[name](3, 2, **defaults).config


LAYERS = ("Autoregressive", "Coupling", "NeuralODE")  # whose networks are there without a context too


@pytest.mark.parametrize("kwargs", [{"hidden": [8, 8]}, {"activation": "tanh"}, {"conditioner": "residual"}])
def test_network_options_reach_every_layer(kwargs):
    (option, value), shown = next(iter(kwargs.items())), 0
    for name, build in FLOWS.items():
        if option in inspect.signature(build).parameters:
            flow = build(3, 2, **{"hidden": [8, 8], **kwargs})
            conditioned = [m.config for m in flow.modules() if "hidden" in getattr(m, "config", {})]
            wanted = [c for c in conditioned if c.get("context") or c["type"] in LAYERS]
            assert wanted, name
            assert all(config[option] == value for config in wanted), name
            shown += 1
    # Without networks, or with Lipschitz networks only; flows of transformers have no other conditioner.
    without = 4 if "conditioner" in kwargs else 2
    assert shown == len(FLOWS) - without


def test_a_wrong_option_is_one_sentence_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"^nsf: there is no option 'dept'\. Did you mean 'depth'\?$"):
        pf.flows.nsf(2, dept=3)
    with pytest.raises(
        TypeError, match=r"^triangular_map: there is no option 'wings'\. Its options are degree, bound, "
    ):
        pf.flows.triangular_map(2, wings=2)


NONE_OF_THEIRS = [
    ({"conditioner": "zzz"}, r"conditioner must be one of 'plain', 'residual', .*; got 'zzz'\.$"),
    ({"hidden": (-3,)}, r"hidden must be a whole number of at least 1; got -3\.$"),
    ({"hidden": (4, 8), "conditioner": "residual"}, r"a residual network needs equal widths; got hidden=\(4, 8\)\.$"),
    ({"activation": "sine"}, r"activation must be one of 'relu', .*; got 'sine'\.$"),
    ({"dropout": 5.0}, r"dropout must lie in \[0, 1\); got 5\.0\.$"),
]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (functools.partial(FLOWS[name], features, **options), f"^{name}: {message}")
        for name in ("maf", "nice", "graphical", "gaussianization")
        for features in (1, 2)
        for options, message in NONE_OF_THEIRS
    ],
)
def test_options_of_networks_are_checked_whether_or_not_there_is_one(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("nice", "fast"),
        ("real_nvp", "fast"),
        ("real_nvp", "mix"),
        ("maf", "mix"),
        ("maf", "owner"),
        ("gaussian_autoregressive", "depth"),
        ("bnaf", "hidden"),
        ("circular_nsf", "tails"),
    ],
)
def test_an_option_of_other_flows_is_refused(name, option):
    with pytest.raises(TypeError, match=f"^{name}: there is no option '{option}'"):
        FLOWS[name](2, **{option: 1})


@each
def test_sizes_out_of_range_are_refused_in_the_name_of_the_flow(name):
    with pytest.raises(ValueError, match=rf"^{name}: features must be a whole number of at least 1; got 0"):
        FLOWS[name](0)
    with pytest.raises(ValueError, match=rf"^{name}: context must be a whole number of at least 0; got -1"):
        FLOWS[name](2, -1)


def test_an_entry_of_the_flow_replaces_the_shared_one():
    signature = inspect.signature(lambda features, *, mix, bins: None)
    doc = "One line.\n\n    Args:\n        bins: two\n            lines.\n        mix: special.\n\n    >>> 1\n    1"
    assert _documented(doc, signature.parameters).split("Args:\n")[1].split("\n\n")[0] == (
        "    features: number of features of x, which has shape (*batch, features).\n    mix: special.\n"
        "    bins: two\n        lines."
    )
