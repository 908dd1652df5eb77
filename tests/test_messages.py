"""Every sentence with which a part refuses: who, what, what it got and, where there is one, the way out.

The last tests read the source: each ``raise`` and each use of a checking function must be reached by some case.
"""

import ast
import re
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import pushforward as pf
from pushforward.bijections import (
    LU,
    Autoregressive,
    Bijection,
    Chain,
    Coupling,
    Elementwise,
    Flip,
    Permute,
    RadialSquash,
    Standardize,
)
from pushforward.core import checks
from pushforward.core.checks import NotInvertibleError
from pushforward.core.config import build, configurable, encode
from pushforward.core.domain import REAL, Ball, Domain, Interval, Product
from pushforward.distributions import Flow, MultivariateNormal, Normal, StandardNormal, StudentT, Uniform
from pushforward.flows import iaf, maf, nice, nsf, real_nvp
from pushforward.networks import MLP, MaskedMLP, register_dense, register_masked
from pushforward.univariate import Affine, RationalQuadratic

NAN = float("nan")


@configurable
class OneWay(Bijection):
    """A map without a known inverse."""

    def __init__(self, forward_kind="exact", inverse_kind="exact"):
        super().__init__()
        self.in_shape = self.out_shape = (2,)
        self.forward_kind, self.inverse_kind = forward_kind, inverse_kind

    def _forward_and_ladj(self, x, context):
        return x, x.sum(-1)

    def _inverse_and_ladj(self, y, context):
        return y, y.sum(-1)


def standing_in_for_flip():
    """A class of a name that is taken."""
    configurable(type("Flip", (nn.Module,), {"__module__": "elsewhere", "__init__": lambda self: None}))


def context_of(size):
    return Elementwise(Affine(), 2, context=size, hidden=(4,))


FLAT = torch.zeros(3, 2)
CASES = [
    # calls
    (lambda: Flip(2)([1.0, 2.0]), r"Flip: x must be a torch\.Tensor; got list\. Use torch\.as_tensor\."),
    (lambda: Flip(2)(torch.zeros(3)), r"Flip: x must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: Flip(2).inverse(torch.zeros(())), r"Flip: y must have shape \(\*batch, 2\); got \(\)\."),
    (
        lambda: LU(2)(FLAT.double()),
        r"LU: x is torch\.float64 but the weights are torch\.float32\. Convert one of them: "
        r"x\.to\(torch\.float32\) or model\.to\(torch\.float64\)\.",
    ),
    (lambda: Flip(2)(FLAT.long()), r"Flip: x must be a floating-point tensor; got torch\.int64\. Use x\.float\(\)\."),
    (lambda: context_of(2)(FLAT), r"Elementwise: built with context of shape \(2,\); got none\. Pass context=\."),
    (lambda: Flip(2)(FLAT, FLAT), r"Flip: built without context; got one\. Leave it out, or build with context=\."),
    (
        lambda: context_of(2)(FLAT, FLAT.double()),
        r"Elementwise: context is torch\.float64 but the weights are torch\.float32\.",
    ),
    (
        lambda: context_of(2)(FLAT, torch.zeros(3, 4)),
        r"Elementwise: context must have shape \(\*batch, 2\); got \(3, 4\)\.",
    ),
    (
        lambda: context_of(2)(FLAT, torch.zeros(4, 2)),
        r"Elementwise: the batch shapes of x \(3,\) and context \(4,\) do not broadcast\.",
    ),
    (
        lambda: OneWay(inverse_kind="none").inverse(FLAT),
        r"OneWay: this direction has no known formula\. Flip the map with \.inv\.",
    ),
    (
        lambda: OneWay(forward_kind="none")(FLAT),
        r"OneWay: this direction has no known formula\. Flip the map with \.inv\.",
    ),
    (
        lambda: OneWay(inverse_kind="none").inv(FLAT),
        r"Inverse: this direction has no known formula\. Flip the map with \.inv\.",
    ),
    (
        lambda: StandardNormal(2).log_prob(torch.zeros(3)),
        r"StandardNormal: x must have shape \(\*batch, 2\); got \(3,\)\.",
    ),
    (
        lambda: StandardNormal(2).initialize(torch.zeros(3)),
        r"StandardNormal: x must have shape \(\*batch, 2\); got \(3,\)\.",
    ),
    (lambda: StandardNormal(2).sample((-1,)), r"StandardNormal: the sample shape must not be negative; got \(-1,\)\."),
    (lambda: StandardNormal(2).sample((), FLAT), r"StandardNormal: built without context; got one\."),
    (lambda: maf(2, 1, hidden=(4,)).sample(3), r"Flow: built with context of shape \(1,\); got none\. Pass context=\."),
    (lambda: maf(2, 1, hidden=(4,)).sample(3, FLAT), r"Flow: context must have shape \(\*batch, 1\); got \(3, 2\)\."),
    (lambda: maf(2, hidden=(4,)).to_latent(torch.zeros(3)), r"Flow: x must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: maf(2, hidden=(4,)).to_data(torch.zeros(3)), r"Flow: z must have shape \(\*batch, 2\); got \(3,\)\."),
    (lambda: StandardNormal(2).condition(FLAT), r"StandardNormal: built without context; got one\."),
    (
        lambda: StandardNormal(2).given(FLAT),
        r"StandardNormal: has no exact conditionals on part of the event\. To condition on columns, model "
        r"them as context: build with context= and use condition\(\)\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0]).initialize(FLAT),
        r"MultivariateNormal: the data lie in a lower-dimensional plane \(a column is constant or a sum of "
        r"others\); drop one of those columns\.",
    ),
    # config
    (standing_in_for_flip, r"configurable: the name Flip is taken by pushforward\.bijections\.rearrange\."),
    (
        lambda: StandardNormal(features=2) and encode(torch.tanh, "Coupling", "activation"),
        r"Coupling: activation must be made of numbers, strings and parts; got builtin_function_or_method\. "
        r"A function cannot be written to a file: register it under a name and pass the name\.",
    ),
    (
        lambda: Normal(torch.zeros(2)),
        r"Normal: loc must be made of numbers, strings and parts; got Tensor\. Pass loc\.tolist\(\): "
        r"numbers, not a tensor, are written to the config\.",
    ),
    (
        lambda: encode({1}, "Chain", "parts"),
        r"Chain: parts must be made of numbers, strings and parts; got set\. Give the name of a registered "
        r"part, or a part built by a @configurable class\.",
    ),
    (lambda: build("LU"), r"build: a config is a dict with a 'type'; got str\."),
    (lambda: build({"features": 2}), r"build: a config is a dict with a 'type'; got dict\."),
    (
        lambda: build({"type": "Glow"}),
        r"build: no part is called 'Glow'\. Known parts: .*LU.*\. Import the module that defines it\.",
    ),
    (lambda: build({"type": "LU", "width": 3}), r"build: LU cannot be built from \['width'\]: .*\."),
    # domains
    (lambda: Interval(1.0, 1.0), r"Interval: low must be smaller than high; got \[1\.0, 1\.0\]\."),
    (lambda: Product(()), r"Product: parts must be one or more entry-wise domains, such as Real or Interval\."),
    (
        lambda: Product((REAL, Ball())),
        r"Product: parts must be one or more entry-wise domains, such as Real or Interval\.",
    ),
    (lambda: Domain().contains(FLAT), r"Domain does not say which points it contains"),
    (lambda: Domain().example((2,)), r"Domain gives no example points"),
    # networks
    (lambda: register_dense("plain", MLP), r"register_dense: the name 'plain' is taken\. Choose another\."),
    (lambda: register_masked("plain", MaskedMLP), r"register_masked: the name 'plain' is taken\. Choose another\."),
    (
        lambda: MLP(2, 2, hidden=()),
        r"MLP: hidden must list at least one layer width; got \(\)\. Use hidden=\(64, 64\)\.",
    ),
    (
        lambda: MaskedMLP(2, 2, hidden=8),
        r"MaskedMLP: hidden must list at least one layer width; got 8\. Use hidden=\(64, 64\)\.",
    ),
    (lambda: MLP(2, 2, hidden=(4, 0)), r"MLP: hidden must be a whole number of at least 1; got 0\."),
    (
        lambda: MLP(2, 2, hidden=(4, 8), residual=True),
        r"MLP: a residual network needs equal widths; got hidden=\(4, 8\)\.",
    ),
    (lambda: MLP(2, 2, activation="sine"), r"MLP: activation must be one of 'relu', .*'tanh'; got 'sine'\."),
    (lambda: MaskedMLP(2, 2, dropout=1.0), r"MaskedMLP: dropout must lie in \[0, 1\); got 1\.0\."),
    # univariates
    (lambda: Affine(0.0), r"Affine: bound must be a positive number; got 0\.0\."),
    (lambda: Affine(NAN), r"Affine: bound must be a positive number; got nan\."),
    (lambda: RationalQuadratic(1), r"RationalQuadratic: bins must be a whole number of at least 2; got 1\."),
    (lambda: RationalQuadratic(True), r"RationalQuadratic: bins must be a whole number of at least 2; got True\."),
    (lambda: RationalQuadratic(4.0), r"RationalQuadratic: bins must be a whole number of at least 2; got 4\.0\."),
    (lambda: RationalQuadratic(bound=-1), r"RationalQuadratic: bound must be a positive number; got -1\."),
    (lambda: RationalQuadratic(min_bin=0), r"RationalQuadratic: min_bin must be a positive number; got 0\."),
    (
        lambda: RationalQuadratic(min_slope=float("inf")),
        r"RationalQuadratic: min_slope must be a positive number; got inf\.",
    ),
    (
        lambda: RationalQuadratic(10, min_bin=0.1),
        r"RationalQuadratic: 10 bins of at least 0\.1 of the box and slopes of at least 0\.001 leave no "
        r"room; lower min_bin below 1 / bins and min_slope below 1\.",
    ),
    # bijections
    (lambda: Flip(0), r"Flip: features must be a whole number of at least 1; got 0\."),
    (lambda: LU(0), r"LU: features must be a whole number of at least 1; got 0\."),
    (lambda: RadialSquash(0), r"RadialSquash: features must be a whole number of at least 1; got 0\."),
    (lambda: Standardize("2"), r"Standardize: features must be a whole number of at least 1; got '2'\."),
    (
        lambda: Standardize(2, data_dtype="int8"),
        r"Standardize: data_dtype must be one of None, 'float64'; got 'int8'\.",
    ),
    (lambda: Permute([0, 2]), r"Permute: order must rearrange 0 \.\. features - 1; got \[0, 2\]\."),
    (lambda: Permute([]), r"Permute: order must rearrange 0 \.\. features - 1; got \[\]\."),
    (lambda: Chain([]), r"Chain: parts must list one or more bijections\."),
    (lambda: Chain([Affine()]), r"Chain: parts must list one or more bijections\."),
    (
        lambda: Chain([Flip(2), Flip(3)]),
        r"Chain: parts\[0\] \(Flip\) ends in shape \(2,\) but parts\[1\] \(Flip\) starts from \(3,\)\. Build "
        r"both with the same number of features\.",
    ),
    (
        lambda: Chain([RadialSquash(2), Flip(2)]),
        r"Chain: parts\[0\] \(RadialSquash\) ends in Ball\(radius=1\.0\) but parts\[1\] \(Flip\) starts from "
        r"Real\(\)\. Put a map between these two domains there\.",
    ),
    (
        lambda: Chain([context_of(1), context_of(2)]),
        r"Chain: all parts must take the same context; got shapes \['\(1,\)', '\(2,\)'\]\.",
    ),
    *(
        case
        for kind, least in ((Elementwise, 1), (Coupling, 2), (Autoregressive, 2))
        for case in (
            (
                lambda kind=kind: kind("Affine", 3),
                rf"{kind.__name__}: univariate must be a Univariate; got 'Affine'\. Try univariate\.Affine\(\)\.",
            ),
            (
                lambda kind=kind, least=least: kind(Affine(), least - 1),
                rf"{kind.__name__}: features must be a whole number of at least {least}; got {least - 1}\."
                + " Use Elementwise for one feature" * (least > 1),
            ),
            (
                lambda kind=kind: kind(Affine(), 3, context=-1),
                rf"{kind.__name__}: context must be a whole number of at least 0; got -1\.",
            ),
            (
                lambda kind=kind: kind(Affine(), 3, context=1, conditioner="deep"),
                rf"{kind.__name__}: conditioner must be one of 'plain', 'residual'.*; got 'deep'\.",
            ),
        )
    ),
    # distributions
    (lambda: StandardNormal(0), r"StandardNormal: features must be a whole number of at least 1; got 0\."),
    (lambda: StudentT(0), r"StudentT: features must be a whole number of at least 1; got 0\."),
    (lambda: StudentT(1, df=0), r"StudentT: df must be a positive number; got 0\."),
    (lambda: Normal([]), r"Normal: loc must list one finite number per feature; got \[\]\."),
    (lambda: Normal([0.0], [NAN]), r"Normal: scale must list one finite number per feature; got \[nan\]\."),
    (lambda: Normal([0.0], [-1.0]), r"Normal: scale must be 1 positive numbers; got \[-1\.0\]\."),
    (lambda: Normal([0.0], [1.0, 1.0]), r"Normal: scale must be 1 positive numbers; got \[1\.0, 1\.0\]\."),
    (
        lambda: MultivariateNormal([NAN]),
        r"MultivariateNormal: loc must list one finite number per feature; got \[nan\]\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]]),
        r"MultivariateNormal: covariance must be a symmetric 2 × 2 matrix\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0]]),
        r"MultivariateNormal: covariance must be a symmetric 2 × 2 matrix\.",
    ),
    (
        lambda: MultivariateNormal([0.0, 0.0], [[1.0, 1.0], [1.0, 1.0]]),
        r"MultivariateNormal: covariance must be positive definite; some direction has none\.",
    ),
    (lambda: Uniform([], []), r"Uniform: low must list one finite number per feature; got \[\]\."),
    (lambda: Uniform([0.0], [float("inf")]), r"Uniform: high must list one finite number per feature; got \[inf\]\."),
    (
        lambda: Uniform([0.0, 1.0], [1.0, 1.0]),
        r"Uniform: low must lie below high, feature by feature; got \[0\.0, 1\.0\] and \[1\.0, 1\.0\]\.",
    ),
    (
        lambda: Flow(StandardNormal(2), Flip(3)),
        r"Flow: base has events of shape \(2,\) but bijection starts from \(3,\)\. Build both with the same "
        r"number of features\.",
    ),
    (
        lambda: Flow(StandardNormal(2), RadialSquash(2).inv),
        r"Flow: base lives on Real\(\) but bijection starts from Ball\(radius=1\.0\)\. Choose a base with "
        r"that support, or turn the bijection around with \.inv\.",
    ),
    (
        lambda: Flow(Flow(StandardNormal(2), context_of(1)), context_of(2)),
        r"Flow: base and bijection must take the same context; got \['\(1,\)', '\(2,\)'\]\.",
    ),
    (
        lambda: Flow(StandardNormal(2), context_of(2), context_map=Flip(3)),
        r"Flow: context_map ends in shape \(3,\) but the context has \(2,\)\.",
    ),
    # named flows
    *(
        case
        for flow in (iaf, maf, nice, nsf, real_nvp)
        for name in [flow.__name__]
        for case in (
            (lambda flow=flow: flow(0), rf"{name}: features must be a whole number of at least 1; got 0\."),
            (lambda flow=flow: flow(2, -1), rf"{name}: context must be a whole number of at least 0; got -1\."),
            (lambda flow=flow: flow(2, depth=0), rf"{name}: depth must be a whole number of at least 1; got 0\."),
        )
    ),
    (lambda: maf(2, fast="both"), r"maf: fast must be one of 'density', 'sampling'; got 'both'\."),
    (lambda: nsf(2, layer="dense"), r"nsf: layer must be one of 'coupling', 'autoregressive'; got 'dense'\."),
    (lambda: nsf(2, mix="none"), r"nsf: mix must be one of 'lu', 'permute', 'flip'; got 'none'\."),
]


@pytest.mark.parametrize(("call", "match"), CASES, ids=[re.sub(r"[^\w .:-]", "", match)[:60] for _, match in CASES])
def test_the_refusal_says(call, match):
    with pytest.raises((ValueError, NotImplementedError), match=f"^{match}"):
        call()


def test_a_map_without_inverse_has_an_error_of_its_own():
    for call in (lambda: OneWay(inverse_kind="none").inverse(FLAT), lambda: StandardNormal(2).given(FLAT)):
        with pytest.raises(NotInvertibleError):
            call()


def test_a_name_stays_with_its_class_after_a_refusal():
    with pytest.raises(ValueError, match="is taken"):
        standing_in_for_flip()
    assert build({"type": "Flip", "features": 2}).config == {"type": "Flip", "features": 2}


# --- every sentence is reached -------------------------------------------------------------------------------------

SOURCE = Path(pf.__file__).parent
FILES = sorted(
    path
    for floor in ("core", "networks", "univariate", "bijections", "distributions", "flows")
    for path in (SOURCE / floor).glob("*.py")
    if path.name != "files.py"  # paths and permissions: tested with real files
)
CHECKS = {
    *(name for name in dir(checks) if callable(getattr(checks, name))),
    "check_hidden",
    "check_univariate",
    "make_conditioner",
    "_columns",
} - {"Tensor", "NotInvertibleError", "_after"}


def sites(path):
    """Lines of every ``raise`` of an error and of every use of a function that checks."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        raised = isinstance(node, ast.Raise) and node.exc is not None
        checked = isinstance(node, ast.Call) and getattr(node.func, "id", None) in CHECKS
        if raised or checked:
            yield range(node.lineno, node.end_lineno + 1)


def reached(calls):
    """Every (file, line) that was active when one of the calls was refused."""
    lines = set()
    for call in calls:
        try:
            call()
        except (ValueError, NotImplementedError) as error:
            lines |= {(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)}
    return lines


def test_no_sentence_is_left_untested():
    lines = reached(call for call, _ in CASES)
    missed = [
        f"{path.relative_to(SOURCE)}:{site.start}"
        for path in FILES
        for site in sites(path)
        if not any((path, line) in lines for line in site)
    ]
    assert missed == [], "no case reaches these"


def test_an_untested_sentence_is_noticed():
    found = list(sites(SOURCE / "bijections" / "chain.py"))
    assert len(found) == 4
    lines = reached([lambda: Chain([])])
    assert sum(any((SOURCE / "bijections" / "chain.py", line) in lines for line in site) for site in found) == 1
