"""``pushforward fit`` for named flows: from a table of numbers to a model file."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from pushforward.cli.common import Interrupted, listed, refuse_same_file, say
from pushforward.cli.flow_options import build_flow, parse_flow_options, wrong_value
from pushforward.cli.model import as_tensors
from pushforward.cli.options import parse_columns
from pushforward.core.files import check_writable
from pushforward.data import Table, TableError, check_not_constant, column_names, read_table
from pushforward.distributions import Flow
from pushforward.evaluate import Baseline, baselines_to_dict, evaluate, fit_baselines
from pushforward.io import save
from pushforward.train import History, Started, TrainingError, fit, fit_triangular

__all__ = ["FitRequest", "choose_columns", "fit_rows", "fit_table"]

DEFAULT = "nsf"
"""The flow for a table of numbers."""
CROSS_VALIDATED = "triangular_map"
"""The flow whose terms are chosen by cross-validation instead of training."""
SLOW_ROWS = 5_000
"""Number of rows from which on choosing terms takes long enough for a message."""
MAX_SCORED = 50_000
"""Largest number of training rows on which the final training likelihood is computed."""


@dataclass(frozen=True)
class FitRequest:
    """The arguments of ``pushforward fit``; `flow` is None where none was asked for."""

    table: str
    out: str
    flow: str | None = None
    context: Sequence[str] = ()
    drop: Sequence[str] = ()
    settings: Sequence[str] = ()
    validation: float | str = 0.1
    seconds: float | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    compile: bool = False
    lr: float | None = None
    resume: bool = False
    checkpoint: str | None = None
    seed: int = 0
    training: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        names = ("seconds", "epochs", "steps", "batch_size", "lr")
        chosen = {name: value for name in names if (value := getattr(self, name)) is not None}
        object.__setattr__(self, "training", chosen)

    @property
    def checkpoint_path(self) -> str:
        return self.checkpoint or f"{self.out}.checkpoint"


@dataclass(frozen=True)
class Parts:
    """Training and validation rows, (rows, columns): the columns of x, then those of the context."""

    columns: list[str]
    context_columns: list[str]
    types: list[str]
    dropped: list[str]
    train: torch.Tensor
    validation: torch.Tensor | None

    def split(self, rows: torch.Tensor, flow: Flow) -> tuple[torch.Tensor, torch.Tensor | None]:
        """x and context in the dtypes of the flow."""
        features = len(self.columns)
        context = rows[:, features:].numpy() if self.context_columns else None
        return as_tensors(flow, rows[:, :features].numpy(), context)


def fit_table(request: FitRequest) -> dict[str, Any]:
    """Fit, save and compare with the baselines. Mistakes in the arguments are refused before training starts."""
    name = request.flow or DEFAULT
    options = parse_flow_options(name, request.settings)
    validation = request.validation
    columns, context_columns, dropped = choose_columns(request)
    refuse_same_file("--out", request.out, request.table, *([validation] if isinstance(validation, str) else []))
    refuse_same_file("--checkpoint", request.checkpoint_path, request.table, request.out)
    check_writable(request.out)
    check_writable(request.checkpoint_path)
    cross_validated = name == CROSS_VALIDATED
    if cross_validated:
        _check_no_steps(request)
    # Built before the table is read, so that a wrong option is refused at once.
    flow = None if cross_validated else build_flow(name, len(columns), len(context_columns), options)
    parts = read_parts(request, columns, context_columns, dropped, validation)
    validation_rows = 0 if parts.validation is None else len(parts.validation)
    say(
        f"{request.table}: {len(parts.train):,} training and {validation_rows:,} validation rows of {listed(columns)}"
        + (f" given {listed(context_columns)}" if context_columns else "")
        + (f", without {listed(dropped)}" if dropped else "")
        + "."
    )
    metadata: dict[str, Any] = {
        "columns": columns,
        "column_types": parts.types[: len(columns)],
        "given": context_columns,
        "given_types": parts.types[len(columns) :],
        "dropped": dropped,
        "flow": name,
        "options": options,
        "seed": request.seed,
        "train_rows": len(parts.train),
        "validation_rows": validation_rows,
    }
    if flow is None:
        flow, history = _cross_validate(request, parts, options)
    else:
        history = _train(request, flow, parts, metadata)
    metadata["history"] = history.to_dict()
    save(flow, request.out, metadata=metadata)  # before the baselines: Ctrl-C while they are fitted loses nothing
    baselines = _baselines(flow, parts, request.seed)
    metadata["baselines"] = baselines_to_dict(baselines)
    save(flow, request.out, metadata=metadata)
    Path(request.checkpoint_path).unlink(missing_ok=True)
    described = ("columns", "given", "dropped", "flow", "options", "seed", "train_rows", "validation_rows")
    return {
        "out": request.out,
        **{name: metadata[name] for name in described},
        "parameters": sum(p.numel() for p in flow.parameters()),
        "seconds": history.seconds,
        "steps": history.records[-1].step if history.records else 0,
        "best_step": history.best_step,
        "stopped": history.stopped,
        **_compare(flow, parts, baselines),
    }


def fit_rows(result: dict[str, Any]) -> list[list[str]]:
    """The log-likelihoods as rows of a table to print."""
    from pushforward.core.exactness import qualified
    from pushforward.evaluate.metrics import TITLES, signed, with_error

    def row(title: str, scores: dict[str, Any]) -> list[str]:
        validation = scores["validation"]
        error = scores["validation_error"]
        return [title, signed(scores["train"]), "" if validation is None else with_error(validation, error)]

    model = row(qualified(result["flow"], result["exactness"]), result)
    return [model] + [row(TITLES.get(k, k), b) for k, b in result["baselines"].items()]


def choose_columns(request: FitRequest) -> tuple[list[str], list[str], list[str]]:
    """Columns to model, columns to condition on, and columns to leave out.

    Raises:
        ValueError: a column is unknown or in two of these lists, or none is left to model.
    """
    names = column_names(request.table)
    context_columns = parse_columns("--given", request.context, names, request.table)
    dropped = parse_columns("--drop", request.drop, names, request.table)
    both = [name for name in context_columns if name in dropped]
    if both:
        raise ValueError(f"--given and --drop both name {listed(both)}. Name a column in one of them.")
    columns = [name for name in names if name not in context_columns and name not in dropped]
    if not columns:
        raise ValueError(
            f"{request.table}: no column is left to model: all {len(names)} are named by --given or --drop. "
            "Leave at least one out of them."
        )
    return columns, context_columns, dropped


def read_parts(
    request: FitRequest,
    columns: list[str],
    context_columns: list[str],
    dropped: list[str],
    validation: float | str,
) -> Parts:
    """Read the table, and the validation table or a random part of the rows for validation."""
    table = read_table(request.table, [*columns, *context_columns])
    check_not_constant(table.select(columns))
    rows = torch.from_numpy(table.values)
    held: torch.Tensor | None = None
    if isinstance(validation, str):
        held = torch.from_numpy(read_table(validation, [*columns, *context_columns]).values)
    elif validation > 0:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(request.seed))
        count = min(len(rows) - 1, max(1, round(validation * len(rows))))
        rows, held = rows[order[count:]], rows[order[:count]]
    _check_varies(table, rows[:, : len(columns)], columns)
    return Parts(columns, context_columns, list(table.types), dropped, rows, held)


def _check_varies(table: Table, rows: torch.Tensor, columns: list[str]) -> None:
    """Refuse a column that is constant in the training rows and varies in the validation rows alone."""
    constant = [name for name, same in zip(columns, (rows == rows[:1]).all(dim=0).tolist(), strict=True) if same]
    if constant:
        raise TableError(
            f"{table.source}: column {listed(constant)} is constant in the {len(rows)} training rows: it varies only "
            "in the validation rows. Use more rows, or --validation 0."
        )


def _train(request: FitRequest, flow: Flow, parts: Parts, metadata: dict[str, Any]) -> History:
    runs: list[History] = []
    x, context = parts.split(parts.train, flow)
    held = None if parts.validation is None else parts.split(parts.validation, flow)
    path = request.checkpoint_path
    if request.resume and not os.path.exists(path):
        say(f"There is no checkpoint {path}: starting from scratch.")
    elif os.path.exists(path) and not request.resume:
        say(f"Starting from scratch and replacing the checkpoint {path}; --resume continues from it.")
    try:
        return fit(
            flow,
            x,
            context,
            validation=None if held is None else [t for t in held if t is not None],
            seed=request.seed,
            checkpoint=path,
            resume=request.resume,
            compile=request.compile,
            callbacks=lambda event: runs.append(event.history) if isinstance(event, Started) else None,
            **request.training,
        )
    except TrainingError as error:
        raise _named(error, parts.columns) from None
    except KeyboardInterrupt:
        kept = f"The state of the run is in {path}: continue with --resume." if os.path.exists(path) else ""
        if not runs or not (records := runs[0].records):
            raise Interrupted(f"Interrupted before the first validation; no model written. {kept}") from None
        history = replace(runs[0], seconds=records[-1].seconds, stopped="interrupted")
        save(flow, request.out, metadata={**metadata, "history": history.to_dict()})
        raise Interrupted(
            f"Interrupted at step {records[-1].step:,}. The best weights so far are in {request.out}. {kept}"
        ) from None


def _cross_validate(request: FitRequest, parts: Parts, options: dict[str, Any]) -> tuple[Flow, History]:
    """A triangular map whose terms are chosen by cross-validation."""
    features, start = len(parts.columns), time.monotonic()
    if len(parts.train) > SLOW_ROWS:
        say(f"{CROSS_VALIDATED} is slow on {len(parts.train):,} rows. Use --flow nsf for large tables.")
    x, context = parts.train[:, :features], parts.train[:, features:] if parts.context_columns else None
    try:
        flow = fit_triangular(x, context, seed=request.seed, data_dtype="float64", **options)
    except TrainingError as error:
        raise _named(error, parts.columns) from None
    except TypeError as error:
        raise wrong_value(f"{CROSS_VALIDATED} cannot be fitted", options, error) from None
    seconds = time.monotonic() - start
    return flow, History(seconds=seconds, stopped="terms chosen by cross-validation")


def _check_no_steps(request: FitRequest) -> None:
    """Refuse options of training for a flow that is fitted by cross-validation."""
    unsupported = [f"--{name.replace('_', '-')}" for name in request.training]
    unsupported += ["--resume"] * request.resume + ["--checkpoint"] * (request.checkpoint is not None)
    unsupported += ["--compile"] * request.compile
    if unsupported:
        raise ValueError(
            f"{', '.join(unsupported)}: {CROSS_VALIDATED} is not trained in steps; cross-validation chooses its terms. "
            "Leave the option out."
        )


def _named(error: TrainingError, names: list[str]) -> TrainingError:
    """The error with column names instead of column numbers."""
    numbers = [int(k) for k in re.findall(r"\bcolumn (\d+)\b", str(error))]
    if any(k >= len(names) for k in numbers):
        return TrainingError(str(error))
    return TrainingError(re.sub(r"\bcolumn (\d+)\b", lambda m: f"column {names[int(m[1])]!r}", str(error)))


def _baselines(flow: Flow, parts: Parts, seed: int) -> dict[str, Baseline]:
    x, context = parts.split(parts.train, flow)
    try:
        return fit_baselines(x, context, seed=seed)
    except ValueError as error:  # the model is saved without them
        say(f"No baselines: {error}")
        return {}


def _compare(flow: Flow, parts: Parts, baselines: dict[str, Baseline]) -> dict[str, Any]:
    """Mean log-likelihoods of the training rows (`MAX_SCORED` at most) and of the validation rows."""
    step = -(-len(parts.train) // MAX_SCORED)
    train = evaluate(flow, *parts.split(parts.train[::step], flow), baselines=baselines)
    held = None
    if parts.validation is not None:
        held = evaluate(flow, *parts.split(parts.validation, flow), baselines=baselines)

    def scores(name: str | None) -> dict[str, Any]:
        seen, unseen = (e if e is None or name is None else e.baselines[name] for e in (train, held))
        return {
            "train": None if seen is None else seen.log_likelihood,
            "validation": None if unseen is None else unseen.log_likelihood,
            "validation_error": None if unseen is None else unseen.standard_error,
        }

    return {**scores(None), "exactness": flow.exactness, "baselines": {name: scores(name) for name in baselines}}
