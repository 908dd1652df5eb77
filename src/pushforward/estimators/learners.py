"""The kinds of models that an estimator can fit to the columns of a table: how each is built, trained and finished."""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pushforward.core.distribution import Distribution
from pushforward.core.random_state import seeded
from pushforward.data.formats import TableError, drop_call
from pushforward.data.inference import DECLARED
from pushforward.data.schema import Field
from pushforward.distributions import Continuous, Flow, MixedFlow, MixedTypeModel
from pushforward.distributions.mixed.shares import match_shares
from pushforward.estimators.choice import GAPS, not_for_a_flow
from pushforward.estimators.layout import TableRows
from pushforward.estimators.start import StartOfTraining
from pushforward.estimators.support import rows_inside
from pushforward.flows import FLOWS
from pushforward.train import FixedCosine, History, fit, fit_triangular

__all__ = [
    "CROSS_VALIDATED",
    "Learner",
    "MixedLearner",
    "check_complete",
    "check_options",
    "chosen_by",
    "learner_of",
    "option_names",
]

CROSS_VALIDATED = "triangular_map"
"""The flow whose terms are chosen by cross-validation instead of training."""
FIXED = {"features", "context", "data_dtype", "dtype", "orders", "seed"}
"""Arguments of named flows that follow from the table or from other options."""
HIDDEN = 0.4
"""Share of the training rows of which random features are hidden, so that rows with gaps can be answered."""
SMALL = 5_000
"""Training rows up to which a fitted model computes in float64, so that scores do not depend on the batch."""
ENTRIES, FEWEST_PER_STEP = 2**22, 64
"""Of the parameters of the rows of a step, at most, but for so few rows: a column may have thousands of categories."""
MANY, PASSES = 4_500, 51
"""Steps after which a run ends once it has seen each row so often. Later ones gain little, 0.006 nats of Adult in 500.
Up to there they are those of a longer run: on the way down to rate zero 4,500 to 4,900 steps of Adult learned less."""
FEW, DROPOUT = 2_500, 0.2
"""With fewer rows a flow given other columns drops so many units: 0.04 nats more on energy, 0.14 on airfoil."""
LINEAR_IN_ALL, LINEAR_IN_ALL_GIVEN = 500, 1_000
"""Rows below which what is linear in all of a row, categories and repeated values too, is a good start: 0.6 nats more
on autompg, 0.5 on housing, but 0.1 to 0.5 less on concrete, skillcraft and Adult with 400 to 1,100 rows, where a
network learns it as well. Of one column given others it is a good start for longer, and with ``FEW`` rows what is
linear in categories: R² of age in 1,500 rows of Adult is 0.41 instead of 0.35, and its log-likelihood the same."""
FEW_HELD = 100
"""Held-out rows up to which what was learned may be no better than the start."""
MIXED_OPTIONS = ("order", "hidden", "dropout", "activation", "conditioner")


class Learner(ABC):
    """One kind of model: what it can learn, and how.

    Attributes:
        name: what the user calls it, such as ``"mixed"`` or ``"nsf"``.
    """

    name: str

    @abstractmethod
    def build(self, columns: Sequence[Field], context: Sequence[Field], rows: int) -> Distribution:
        """An untrained model of some columns given others, for a table of so many rows."""

    def initialize(self, model: Distribution, rows: TableRows) -> None:
        """Set what depends on the data, where that is not left to the training."""
        return

    def check(self, rows: TableRows, columns: Sequence[Field], context: Sequence[Field]) -> None:
        """Refuse rows that the model cannot learn or judge.

        Raises:
            TableError: naming the column and a remedy.
        """
        return

    def usable(self, rows: TableRows, fields: Sequence[Field]) -> TableRows:
        """The validation rows that the model can judge; a warning tells of others."""
        return rows

    def check_varies(self, fields: Sequence[Field], train: Tensor, held_out: Tensor | None) -> None:
        """Refuse a column that is constant in the training rows, if its density would be infinite."""
        return

    def schedule(self, model: Distribution, rows: int, columns: int, *, limited: bool) -> dict[str, Any]:
        """Options of `train.fit` for a table of this size; ``limited`` says that the user gave a budget."""
        return {}

    def learn(self, model: Distribution, rows: Any, context: Any, **options: Any) -> tuple[Distribution, History]:
        """The trained model and its history; the options are those of `train.fit`."""
        return model, fit(model, rows, context, **options)

    def finish(self, model: Distribution, train: TableRows, held_out: TableRows | None, rows: int) -> None:
        """What is left to do with a trained model, in place; ``train`` are the training rows, or the first of them."""
        model.eval()


@dataclass(frozen=True)
class MixedLearner(Learner):
    """`MixedTypeModel`, for columns of any types, with or without gaps."""

    options: Mapping[str, Any]
    """Arguments of `MixedTypeModel` by name."""
    hidden: Callable[[int], tuple[int, ...]]
    """Widths of the network for a number of rows, where ``options`` has none."""
    batch_size: Callable[[int, int], int]
    steps: Callable[[int, int], int]
    calibrates: bool = True
    lr: Callable[[int], float] = lambda rows: 3e-3
    name = "mixed"

    def build(self, columns: Sequence[Field], context: Sequence[Field], rows: int) -> MixedTypeModel:
        types, context_types = ([field.column_type for field in fields] for fields in (columns, context))
        hides = {"hide_context": HIDDEN} if context else {}
        few = LINEAR_IN_ALL_GIVEN if context else LINEAR_IN_ALL
        sees = {"linear": "all" if rows < few else "categories" if context and rows < FEW else "reals"}
        options = {"hidden": self.hidden(rows), **sees, **hides, **self.options}
        return MixedTypeModel(types, context=context_types, **options)

    def usable(self, rows: TableRows, fields: Sequence[Field]) -> TableRows:
        return rows_inside(rows, fields)

    def initialize(self, model: Distribution, rows: TableRows) -> None:
        model.to(dtype=torch.float32)
        model.initialize(rows.x, rows.context)

    def schedule(self, model: Distribution, rows: int, columns: int, *, limited: bool) -> dict[str, Any]:
        parameters = model.network.num_params if isinstance(model, MixedTypeModel) else 1
        batch_size = min(self.batch_size(rows, columns), max(FEWEST_PER_STEP, ENTRIES // max(1, parameters)))
        longest = self.steps(rows, columns)
        steps = min(longest, max(MANY, PASSES * rows // batch_size))
        budget: dict[str, Any] = {} if limited else {"steps": steps}
        if not limited and steps < longest:
            budget["decay"] = FixedCosine(longest)
        return {"batch_size": batch_size, "lr": self.lr(rows), "patience": 12, **budget}

    def learn(self, model: Distribution, rows: Any, context: Any, **options: Any) -> tuple[Distribution, History]:
        """As always, but what was learned must be better than the start, which knows what is linear, if the rows are
        few: on those held out by more than chance."""
        held_out = options.get("validation")
        if held_out is None or len(held_out[0]) > FEW_HELD:
            return super().learn(model, rows, context, **options)
        start = StartOfTraining(model, *held_out)
        learned, history = super().learn(model, rows, context, **options)
        return learned, start.kept_if_as_good(learned, history)

    def finish(self, model: Distribution, train: TableRows, held_out: TableRows | None, rows: int) -> None:
        super().finish(model, train, held_out, rows)
        if isinstance(model, MixedTypeModel) and self.calibrates:
            if held_out is not None:
                model.calibrate_temperature(held_out.x, held_out.context, held_out.weights)
            judges = train if held_out is None else held_out.joined(train)
            if rows < FEW and judges.context is None:
                match_shares(model.network, judges.x, judges.weights)
            model.choose_order(judges.x, judges.context, judges.weights)
        model.to(torch.float64 if rows <= SMALL else torch.float32).eval()


@dataclass(frozen=True)
class FlowLearner(Learner):
    """A named flow of the columns that hold real numbers, given the others, of which there is a mixed-type model."""

    name: str
    options: Mapping[str, Any]
    mixed: MixedLearner
    others: Sequence[int] = ()
    """The numbers of the columns that are not for a flow."""

    def build(self, columns: Sequence[Field], context: Sequence[Field], rows: int) -> Distribution:
        if not self.others:
            if any(field.why == DECLARED for field in columns):
                raise ValueError(f"types: column types are for the model 'mixed', not for {self.name!r}.")
            return self._flow(len(columns), len(context))
        mixed = self.mixed.build([columns[j] for j in self.others], context, rows)
        drops = rows < FEW and "dropout" in option_names(self.name)
        real = len(columns) - len(self.others)
        flow = self._flow(real, MixedFlow.embedding_size(mixed), **({"dropout": DROPOUT} if drops else {}))
        return MixedFlow(mixed, flow, self.others)

    def check(self, rows: TableRows, columns: Sequence[Field], context: Sequence[Field]) -> None:
        real, alone = [j for j in range(len(columns)) if j not in self.others], ""
        facts = [not_for_a_flow(field, column) for field, column in zip(columns, rows.x.cpu().numpy().T, strict=True)]
        if not self.others and len(columns) > 1 and None not in facts:
            told = sorted(
                zip(columns, facts, strict=True), key=lambda pair: pair[1] != GAPS
            )  # what can be mended first
            shown = ", ".join(f"{field.name!r} {fact}" for field, fact in told[:4])
            alone = (
                " A mixed-type part would take it beside a column of real numbers without gaps, but there is none: "
                f"{shown}{', ...' * (len(columns) > 4)}."
            )
        check_complete(self.name, [columns[j] for j in real], rows.x[:, real], alone)
        if rows.context is not None and not self.others:
            check_complete(self.name, context, rows.context)

    def usable(self, rows: TableRows, fields: Sequence[Field]) -> TableRows:
        real = Continuous()
        each = [field if j in self.others else replace(field, column_type=real) for j, field in enumerate(fields)]
        return rows_inside(rows, each)

    def finish(self, model: Distribution, train: TableRows, held_out: TableRows | None, rows: int) -> None:
        super().finish(model, train, held_out, rows)
        if isinstance(model, MixedFlow):
            places = model.places
            first = None if held_out is None else replace(held_out, x=held_out.x[:, places])
            self.mixed.finish(model.mixed, replace(train, x=train.x[:, places]), first, rows)

    def _flow(self, features: int, context: int, **defaults: Any) -> Flow:
        try:
            return FLOWS[self.name](features, context, data_dtype="float64", **{**defaults, **self.options})
        except (TypeError, RuntimeError, OverflowError) as error:
            raise self._wrong(error) from None

    def _wrong(self, error: Exception) -> ValueError:
        shown = ", ".join(f"{name}={value}" for name, value in self.options.items())
        return ValueError(f"options: {self.name} cannot be built with {shown} ({error}).")

    def check_varies(self, fields: Sequence[Field], train: Tensor, held_out: Tensor | None) -> None:
        alike = (train == train[:1]).all(dim=0).tolist()
        same = [j for j, constant in enumerate(alike) if constant and j not in self.others]
        if not same:
            return
        names = [fields[j].name for j in same]
        start = f"the table: column {', '.join(map(repr, names[:5]))} is constant"
        if held_out is not None and (held_out[:, same] != train[:1, same]).any():
            raise TableError(
                f"{start} in the {len(train)} training rows: it varies only in the validation rows. Use more rows, or "
                "hold none out (validation=None)."
            )
        raise TableError(
            f"{start} (always {float(train[0, same[0]])}): its density is infinite. Leave it out ({drop_call(names)})."
        )


@dataclass(frozen=True)
class CrossValidatedLearner(FlowLearner):
    """A triangular map whose terms are chosen by cross-validation."""

    def build(self, columns: Sequence[Field], context: Sequence[Field], rows: int) -> Distribution:
        return FLOWS[self.name](len(columns), len(context), data_dtype="float64")

    def learn(self, model: Distribution, rows: Any, context: Any, **options: Any) -> tuple[Distribution, History]:
        if not isinstance(rows, Tensor):
            raise ValueError(f"{self.name} needs all rows at once. Fit it to a part of the table.")
        start = time.monotonic()
        try:
            flow = fit_triangular(rows, context, seed=options["seed"], data_dtype="float64", **self.options)
        except TypeError as error:
            raise self._wrong(error) from None
        return flow, History(seconds=time.monotonic() - start, stopped="terms chosen by cross-validation")


def check_complete(name: str, fields: Sequence[Field], x: Tensor, why: str = "") -> None:
    """Refuse rows x (rows, columns) that a flow of this name cannot judge, categories and missing entries, with a
    sentence ``why`` no other part of the model takes them.

    Raises:
        TableError: naming the first column and remedies.
    """
    rather = "or fit the model 'mixed', which takes it as it is"
    for field, column in zip(fields, x.T, strict=True):
        drop = drop_call([field.name])
        if field.labels is not None:
            raise TableError(
                f"the table: column {field.name!r} holds {'text' if field.form == 'label' else 'categories'}, and "
                f"{name} models numbers.{why} Leave it out ({drop}), {rather}."
            )
        missing = column.isnan()
        if count := int(missing.sum()):
            first = int(missing.int().argmax()) + 1
            values = "value" if count == 1 else "values"
            raise TableError(
                f"the table: column {field.name!r} has {count} missing {values} in {len(column)} rows, first at row "
                f"{first}, and {name} models complete rows.{why} Fill in or leave out such rows, leave out the column "
                f"({drop}), {rather}."
            )


def check_options(name: str, options: Mapping[str, Any], columns: int, context: int) -> None:
    """Raise a ValueError for options with which a model of so many columns cannot be built."""
    mixed = MixedLearner({}, lambda rows: (8,), lambda rows, columns: 1, lambda rows, columns: 1)
    blank = Field("", Continuous(), "", "")
    with seeded(0):
        learner_of(name, options, mixed).build([blank] * columns, [blank] * context, 1)


def option_names(name: str) -> dict[str, Any]:
    """The options that a kind of model takes, and their defaults.

    Raises:
        ValueError: there is no such model.
    """
    if name == "mixed":
        parameters = inspect.signature(MixedTypeModel).parameters
        return {option: parameters[option].default for option in MIXED_OPTIONS}
    if name not in FLOWS:
        raise ValueError(f"model: there is no {name!r}. Choose one of auto, mixed, {', '.join(sorted(FLOWS))}.")
    source = fit_triangular if name == CROSS_VALIDATED else FLOWS[name]
    keywords = inspect.signature(source).parameters.values()
    return {p.name: p.default for p in keywords if p.kind is p.KEYWORD_ONLY and p.name not in FIXED}


def chosen_by(options: Mapping[str, Any]) -> tuple[str, str] | None:
    """The kind of model that alone of those between which ``"auto"`` chooses has all of some options, and why."""
    unknown = {name: [option for option in options if option not in option_names(name)] for name in ("mixed", "nsf")}
    takes = [name for name, lacking in unknown.items() if not lacking]
    if len(takes) != 1:
        return None
    (lacking,) = (options for name, options in unknown.items() if name != takes[0])
    return takes[0], f"Option {lacking[0]!r} is one of {takes[0]}"


def learner_of(name: str, options: Mapping[str, Any], mixed: MixedLearner, others: Sequence[int] = ()) -> Learner:
    """The kind of model of a name, with options of it; ``mixed`` is what ``"mixed"`` stands for, and ``others`` are the
    columns that are not for a flow.

    Raises:
        ValueError: there is no such model, or it has no such option.
    """
    possible = option_names(name)
    if unknown := [option for option in options if option not in possible]:
        raise ValueError(f"options: {name} has no option {unknown[0]!r}. It has {', '.join(possible)}.")
    if name == "mixed":
        return replace(mixed, options={**mixed.options, **options})
    if name == CROSS_VALIDATED:
        return CrossValidatedLearner(name, options, mixed)
    return FlowLearner(name, options, mixed, others)
