"""What the kinds of columns and the model of them refuse, and how: cases of `test_messages`."""

import torch

from pushforward.distributions import (
    Boolean,
    Bounded,
    Categorical,
    Circular,
    ColumnDistribution,
    Constant,
    Continuous,
    Inflated,
    Integer,
    MixedTypeModel,
    Ordinal,
    Positive,
    ZeroInflated,
)
from pushforward.networks.subset import PrefixNetwork, SubsetNetwork
from pushforward.univariate import CircularShift, Composed, LogisticMixtureCDF

KNOWN, WHOLE = torch.zeros(2, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)


def model(order="any"):
    return MixedTypeModel([Continuous(), Categorical(3), Integer(0, 4)], order=order, hidden=(4,))


def conditional_model():
    return MixedTypeModel([Continuous(), Categorical(3), Integer(0, 4)], context=[Continuous()], hidden=(4,))


def marginal() -> ColumnDistribution:
    return model().column_marginal(0)


def network(kind, **options):
    return kind([1, 1], [([0, 1], 2)], **{"hidden": (4,), "activation": "relu", "dropout": 0.0, **options})


MISTAKES = [
    (lambda: Integer(3, 3), r"Integer: low must be smaller than high; got 3 and 3\. Use Constant"),
    (lambda: Integer(skewed=True), r"Integer: skewed=True counts from a smallest number; give low\."),
    (lambda: Circular(0.0), r"Circular: period must be positive; got 0\.0\."),
    (lambda: Bounded(1.0, 1.0), r"Interval: low must be smaller than high; got"),
    (
        lambda: Continuous(Composed([CircularShift()])),
        r"Continuous: univariate must be a map of the real line; got Composed\. Try univariate\.LogisticMixtureCDF",
    ),
    (lambda: Continuous(smoothing=-1.0), r"Continuous: smoothing must be a number of at least 0; got -1\.0\."),
    (lambda: Positive(columns=0), r"Positive: columns must be a whole number of at least 1; got 0"),
    (lambda: Categorical(0), r"Categorical: levels must be a whole number of at least 1; got 0"),
    (lambda: Ordinal(0), r"Ordinal: levels must be a whole number of at least 1; got 0"),
    (lambda: Boolean(columns=0), r"Boolean: columns must be"),
    (lambda: Constant(columns=0), r"Constant: columns must be"),
    (lambda: ZeroInflated(Positive(), columns=0), r"ZeroInflated: columns must be"),
    (
        lambda: Inflated(Positive(), [2.0, 1.0]),
        r"Inflated: values must be different numbers, rising; got",
    ),
    (lambda: Inflated(Positive(), []), r"Inflated: values must list one finite number per feature; got \[\]\."),
    (lambda: LogisticMixtureCDF(log_widths=0.0), r"LogisticMixtureCDF: log_widths must be a positive number"),
    (lambda: network(SubsetNetwork, hidden=()), r"SubsetNetwork: hidden must list at least one layer width"),
    (lambda: network(PrefixNetwork, activation="no"), r"PrefixNetwork: activation must be one of"),
    (
        lambda: MixedTypeModel([]),
        r"MixedTypeModel: columns must be one or more types, such as Continuous\(\); got \[\]\.",
    ),
    (
        lambda: MixedTypeModel([Continuous(columns=2)]),
        r"MixedTypeModel: each of columns must be one column; leave columns=",
    ),
    (lambda: model("all"), r"MixedTypeModel: order must be one of 'any', 'fixed'; got 'all'"),
    (
        lambda: model().log_prob(torch.zeros(4, 3)),
        r"MixedTypeModel: x is torch\.float32 but the weights are torch\.float64",
    ),
    (
        lambda: model().contributions(torch.zeros(4, 3)),
        r"MixedTypeModel: x must be float64, as tables are; got torch\.float32",
    ),
    (lambda: model().cdf(torch.zeros(4, 3)), r"MixedTypeModel: x must be float64, as tables are; got torch\.float32"),
    (
        lambda: MixedTypeModel([Continuous()], context=[3]),
        r"MixedTypeModel: context must be types, such as Continuous\(\); got \[3\]\.",
    ),
    (
        lambda: model().contributions(WHOLE, order=[0, 0, 1]),
        r"MixedTypeModel: order must rearrange 0 \.\. 2; got \[0, 0, 1\]",
    ),
    (
        lambda: model("fixed").contributions(WHOLE, order=[1, 0, 2]),
        r"MixedTypeModel: this model has one order of its columns",
    ),
    (
        lambda: model().rsample(2),
        r"MixedTypeModel: samples carry no gradients, for values may be discrete\. Use sample\(\)",
    ),
    (lambda: model().rsample_and_log_prob(2), r"MixedTypeModel: samples carry no gradients"),
    (
        lambda: model().given({0: 0.0, 1: 0.0, 2: 0.0}),
        r"MixedTypeModel: all columns are observed, so no column is left to model",
    ),
    (lambda: model().given({7: 0.0}), r"MixedTypeModel: observed columns are numbered 0 \.\. 2; got 7\."),
    (lambda: model().given(WHOLE), r"MixedTypeModel: observed must hold 1 to 2 columns; got shape \(4, 3\)\."),
    (lambda: model().given({0: 0.0}).given({0: 1.0}), r"MixedTypeModel: column 0 is observed already\. Leave it out\."),
    (
        lambda: model().given({0: 0.0}).column_marginal(0),
        r"MixedTypeModel: column 0 is not among the unobserved ones, \[1, 2\]\.",
    ),
    (
        lambda: model("fixed").full_conditional(WHOLE, 0),
        r"MixedTypeModel: full_conditional conditions on any columns, and with a fixed order only",
    ),
    (
        lambda: model("fixed").composite(WHOLE),
        r"MixedTypeModel: composite conditions on any columns, and with a fixed order only those",
    ),
    (lambda: model().composite(WHOLE.float()), r"MixedTypeModel: x must be float64, as tables are; got"),
    (
        lambda: model("fixed").given({1: 0.0}),
        r"MixedTypeModel: with a fixed order only the first columns can be observed",
    ),
    (
        lambda: model("fixed").given({0: 0.0}).column_marginal(2),
        r"MixedTypeModel: with a fixed order only the next column has a marginal, 1; got 2",
    ),
    (
        lambda: model().given({0: 0.0}).marginal_discrepancy(1, draws=1),
        r"MixedTypeModel: draws must be a whole number of at least 2; got 1",
    ),
    (lambda: model().full_conditional(WHOLE, 3), r"MixedTypeModel: columns are numbered 0 \.\. 2; got 3\."),
    (lambda: model().column_type(-1), r"MixedTypeModel: columns are numbered 0 \.\. 2; got -1\."),
    (
        lambda: model().impute(WHOLE[:, :2]),
        r"MixedTypeModel: x must have shape \(\*batch, 3\); got \(4, 2\)\.",
    ),
    (
        lambda: model().composite(WHOLE, splits=-1),
        r"MixedTypeModel: splits must be a whole number of at least 0; got -1",
    ),
    (
        lambda: model().calibrate_temperature(WHOLE[:0]),
        r"MixedTypeModel: the number of rows to calibrate with must be a whole number of at least 1; got 0",
    ),
    (lambda: model().given({}, WHOLE).column_marginal(0), r"MixedTypeModel: built without context; got one\."),
    (
        lambda: conditional_model().contributions(WHOLE, context=WHOLE),
        r"MixedTypeModel: context must have shape \(\*batch, 1\)",
    ),
    (
        lambda: conditional_model().contributions(WHOLE, context=WHOLE[:3, :1]),
        r"MixedTypeModel: the batch shapes of x \(4,\) and context \(3,\) do not broadcast\.",
    ),
    (
        lambda: model().given({0: KNOWN, 1: WHOLE[:, 0]}),
        r"MixedTypeModel: the batch shapes of column 0 \(2,\) and column 1 \(4,\) do not broadcast\.",
    ),
    (
        lambda: conditional_model().given({0: KNOWN}, WHOLE[:, :1]),
        r"MixedTypeModel: the batch shapes of column 0 \(2,\) and context \(4,\) do not broadcast\.",
    ),
    (lambda: model().condition(WHOLE), r"MixedTypeModel: built without context; got one\."),
    (lambda: marginal().quantile(0.0), r"quantile: p must lie between 0 and 1; got 0\.0\."),
    (lambda: marginal().interval(1.5), r"interval: probability must lie between 0 and 1; got 1\.5\."),
    (lambda: marginal().highest_density_interval(0.0), r"interval: probability must lie between 0 and 1; got 0\.0\."),
    (lambda: marginal().probabilities(), r"probabilities: Continuous has no categories\. Ask for log_prob instead\."),
    (lambda: model().column_marginal(1).mean(), r"Categorical: there is no order and so no mean"),
]
