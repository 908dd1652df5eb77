"""``pushforward fit``: from a table to a model file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from pushforward.cli.common import Interrupted, listed, say, suggestion
from pushforward.cli.large import large_file, names_of, note_of, read_or_survey
from pushforward.cli.left_out import without_empty, without_identifiers
from pushforward.cli.options import parse_assignments, parse_columns
from pushforward.cli.outputs import check_checkpoint, check_model_output, only_run_to, write_model
from pushforward.cli.tables import in_options, options_named, parse_types
from pushforward.core.rank import is_first_process
from pushforward.data import Schema, TableError, TableFile, column_names, read_arrow
from pushforward.data.findings import findings
from pushforward.estimators import FlowDensity
from pushforward.estimators.files import with_categories
from pushforward.estimators.learners import CROSS_VALIDATED, check_options, option_names
from pushforward.estimators.table import Prepared
from pushforward.flows import FLOWS, IMAGE_FLOWS
from pushforward.train import TrainingError
from pushforward.train.checkpoint import read_step

__all__ = ["FitRequest", "choose_columns", "fit_table", "parse_options"]

CONSTANTS = {"true": True, "false": False, "none": None}
MODELS = ["auto", "mixed", *sorted(FLOWS)]


@dataclass(frozen=True)
class FitRequest:
    """The arguments of ``pushforward fit``, as typed."""

    table: str | TableFile
    out: str
    model: str = "auto"
    context: Sequence[str] = ()
    drop: Sequence[str] = ()
    keep: Sequence[str] = ()
    types: Sequence[str] = ()
    settings: Sequence[str] = ()
    validation: float | str | TableFile = 0.1
    training: dict[str, Any] = field(default_factory=dict)
    compile: bool = False
    resume: bool = False
    skip_bad: bool = False
    checkpoint: str | None = None
    force: bool = False
    seed: int = 0

    @property
    def checkpoint_path(self) -> str:
        return self.checkpoint or f"{self.out}.checkpoint"


def fit_table(request: FitRequest, *, show: bool) -> dict[str, Any]:
    """Fit a model, save it and compare it with baselines. Mistakes in the arguments are refused before training.

    Args:
        request: the arguments.
        show: whether to print the schema and the progress.

    Raises:
        ValueError: an option, a column or the table cannot be used.
    """
    table = request.table
    options = parse_settings(request.model, request.settings)
    columns, context, dropped = choose_columns(request)
    check_files(request)
    if request.model == CROSS_VALIDATED:
        refuse_steps(request)
    elif request.model != "auto":  # a wrong value is refused before the table is read
        check_options(request.model, options, len(columns), len(context))
    large = large_file(table, [*columns, *context], skip_bad=request.skip_bad)
    for reason in large.left_out.values() if large is not None else ():
        say(f"Left out: {reason}")
    if large is not None and large.left_out:
        say(f"{len(large.left_out)} parts are left out, {large.rows_left_out:,} rows of files that can be read.")
    if note := note_of(table):
        say(f"{table}: {note}.")
    with options_named(table):
        names = column_names(table) if large is None else large.columns
        used = [name for name in names if name in columns or name in context]
        rows, survey = read_or_survey(table, used, large, request.seed)
        if rows.num_rows < 2:
            raise TableError(f"{table}: the table has 1 row. A density needs at least 2 rows, and usually hundreds.")
        kept = [*context, *parse_columns("--keep", request.keep, used, str(table))]
        types = parse_types(request.types, used, str(table))
        rows = without_empty(rows, table, [*kept, *types])
        dropped += [name for name in used if name not in rows.column_names]
        used = rows.column_names
        schema = Schema.infer(rows, types) if survey is None else survey.select(used).schema(types)
        x = schema.encode(rows)
        numbers = [] if survey is None else [name for name in survey.row_numbers if name in schema.names]
        schema = without_identifiers(schema, x, kept, "--keep {} takes it in", row_numbers=numbers)
        dropped += [name for name in used if name not in schema.names]
        schema = schema if survey is None else with_categories(schema, survey)
        x = schema.encode(rows)
        check_model_output(request.out, force=request.force, columns=schema.names)
        run = Run(request, FlowDensity(
            model=request.model,
            options=options,
            context=tuple(context),
            types=schema,
            validation=validation_rows(request, schema),
            compile=request.compile,
            checkpoint=None if request.model == CROSS_VALIDATED else request.checkpoint_path,
            resume=request.resume,
            random_state=request.seed,
            verbose=show,
            **request.training,
        ), dropped)  # fmt: skip
        run.schema_lines = [schema.describe()] if show else []
        run.notes = [f"Note: {in_options(finding.sentence)}" for finding in findings(schema.fields, x)]
        if large is not None:
            large.names = schema.names
        with only_run_to(request.out):
            return run.fit(rows.select(schema.names) if large is None else large)


class Run:
    """One fit, its files and what is said about it."""

    def __init__(self, request: FitRequest, model: FlowDensity, dropped: list[str]) -> None:
        self.request, self.model, self.dropped = request, model, dropped
        self.prepared: Prepared | None = None
        self.schema_lines: list[str] = []
        self.notes: list[str] = []

    def fit(self, rows: Any) -> dict[str, Any]:
        """Train, save and compare; Ctrl-C leaves the best weights so far in the model file."""
        out, path = self.request.out, self.request.checkpoint_path
        try:
            self.model.fit(rows, prepared=self.announce)
        except TrainingError as error:
            raise self.named(error) from None
        except KeyboardInterrupt:
            kept = f" The state of the run is in {path}: continue with --resume." if os.path.exists(path) else ""
            if not hasattr(self.model, "history_"):
                raise Interrupted(f"Interrupted before the training began; no model written.{kept}") from None
            write_model(self.model, out, self.metadata())
            records = self.model.history_.records
            when = f"at step {records[-1].step:,}" if records else "before the first validation"
            raise Interrupted(f"Interrupted {when}. The best weights so far are in {out}.{kept}") from None
        write_model(self.model, out, self.metadata())  # first, so that Ctrl-C from here on loses nothing
        result = self.judge()
        if is_first_process():
            Path(path).unlink(missing_ok=True)
        return result

    def announce(self, prepared: Prepared) -> None:
        """Say what is learned from, and by what."""
        self.prepared = prepared
        for line in self.schema_lines:
            typer.echo(line)
        for note in self.notes:
            say(note)
        request, layout = self.request, self.model.layout_
        modelled, context = ([f.name for f in fields] for fields in layout.fields)
        held = 0 if prepared.validation is None else len(prepared.validation)
        say(
            f"{request.table}: {prepared.rows:,} training and {held:,} validation rows of {listed(modelled)}"
            + (f" given {listed(context)}" if context else "")
            + (f", without {listed(self.dropped)}" if self.dropped else "")
            + "."
        )
        if prepared.why:
            kind = "a mixed-type model" if prepared.model == "mixed" else prepared.model
            say(f"{prepared.why}: fitting {kind}.")
        path = request.checkpoint_path
        if request.resume and not os.path.exists(path):
            say(f"There is no checkpoint {path}: starting from scratch.")
        elif request.resume:
            say(f"Going on from step {read_step(path):,} of {path}.")
        elif os.path.exists(path):
            say(f"Starting from scratch and replacing the checkpoint {path}; --resume continues from it.")

    def metadata(self, stored: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """What the model file says about itself besides the model; ``stored`` is about the training rows."""
        modelled, context = self.model.layout_.fields
        prepared = self.prepared
        held = 0 if prepared is None or prepared.validation is None else len(prepared.validation)
        return {
            "columns": [f.name for f in modelled],
            "column_types": [type(f.column_type).__name__ for f in modelled],
            "given": [f.name for f in context],
            "dropped": self.dropped,
            "model": self.model.model_name_,
            "options": dict(self.model.options or {}),
            "seed": self.request.seed,
            "train_rows": 0 if prepared is None else prepared.rows,
            "validation_rows": held,
            **stored,
        }

    def judge(self) -> dict[str, Any]:
        """Fit the baselines, save them with the model, and compare."""
        from pushforward.cli.evaluate import compare

        if self.prepared is None:
            raise RuntimeError("the model was not prepared")
        stored, scores = compare(self.model, self.prepared, self.request.seed)
        metadata = self.metadata(stored)
        write_model(self.model, self.request.out, metadata)
        history, out = getattr(self.model, "history_", None), self.request.out
        conditions = f"--given {','.join(f'{name}=VALUE' for name in metadata['given'])} " if metadata["given"] else ""
        draw = f"pushforward sample {out} {conditions}--out new.csv"
        records = [] if history is None else history.records
        return {
            "out": self.request.out,
            **{name: value for name, value in metadata.items() if name not in stored},
            "schema": self.model.schema_.describe(),
            "parameters": sum(p.numel() for p in self.model.model_.parameters()),
            "seconds": 0.0 if history is None else history.seconds,
            "steps": records[-1].step if records else 0,
            "best_step": 0 if history is None else history.best_step,
            "stopped": "" if history is None else history.stopped,
            "exactness": self.model.model_.exactness,
            "next": f"pushforward report {out} TABLE of new rows, or {draw}",
            **scores,
        }

    def named(self, error: TrainingError) -> TrainingError:
        """The error with column names instead of column numbers."""
        names = [f.name for f in self.model.layout_.fields[0]]
        numbers = [int(k) for k in re.findall(r"\bcolumn (\d+)\b", str(error))]
        if any(k >= len(names) for k in numbers):
            return TrainingError(str(error))
        return TrainingError(re.sub(r"\bcolumn (\d+)\b", lambda m: f"column {names[int(m[1])]!r}", str(error)))


def choose_columns(request: FitRequest) -> tuple[list[str], list[str], list[str]]:
    """Columns to model, columns to condition on, and columns to leave out.

    Raises:
        ValueError: a column is unknown or in two of these lists, or none is left to model.
    """
    names, table = names_of(request.table, skip_bad=request.skip_bad), str(request.table)
    context = parse_columns("--given", request.context, names, table)
    dropped = parse_columns("--drop", request.drop, names, table)
    if both := [name for name in context if name in dropped]:
        raise ValueError(f"--given and --drop both name {listed(both)}. Name a column in one of them.")
    columns = [name for name in names if name not in context and name not in dropped]
    if not columns:
        raise ValueError(
            f"{table}: no column is left to model: all {len(names)} are named by --given or --drop. "
            "Leave at least one out of them."
        )
    return columns, context, dropped


def check_files(request: FitRequest) -> None:
    """Refuse output files that cannot be written or should not be overwritten."""
    validation = [] if isinstance(request.validation, float | int) else [str(request.validation)]
    check_model_output(request.out, str(request.table), *validation, force=request.force)
    check_checkpoint(request.checkpoint_path, str(request.table), request.out)


def validation_rows(request: FitRequest, schema: Schema) -> Any:
    """The share of the rows to hold out, or a table of such rows."""
    if isinstance(request.validation, float | int):
        return request.validation or None
    return read_arrow(request.validation, schema.names)


def parse_settings(model: str, settings: Sequence[str]) -> dict[str, Any]:
    """Options of a model, numbers as numbers and lists as lists; for ``"auto"`` those of either model.

    Raises:
        ValueError: the model or an option is unknown, or a value cannot be used.

    >>> parse_settings("nsf", ["depth=3", "hidden=64", "layer=coupling"])
    {'depth': 3, 'hidden': [64], 'layer': 'coupling'}
    """
    if model not in MODELS:
        hint = " That one is of images." if model in IMAGE_FLOWS else suggestion(model, MODELS)
        raise ValueError(f"--model: there is no model {model!r}.{hint} Choose one of {listed(MODELS, 20)}.")
    defaults = {**option_names("mixed"), **option_names("nsf")} if model == "auto" else option_names(model)
    return parse_options(model, settings, defaults)


def parse_options(model: str, settings: Sequence[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a model that has those in ``defaults``."""
    form = "NAME=VALUE, such as depth=5 or hidden=128,128"
    texts = parse_assignments("--set", settings, list(defaults), where=model, noun="option", form=form)
    values = {name: _parse(text) for name, text in texts.items()}
    # One number for a list of widths is a list of one width.
    lists = {name for name, v in values.items() if isinstance(defaults[name], tuple) and not isinstance(v, list)}
    return {name: [value] if name in lists else value for name, value in values.items()}


def _parse(text: str) -> Any:
    if "," in text:
        return [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def refuse_steps(request: FitRequest) -> None:
    """Refuse options of training for a flow that is fitted by cross-validation."""
    unsupported = [f"--{name.replace('_', '-')}" for name in request.training]
    unsupported += ["--resume"] * request.resume + ["--checkpoint"] * (request.checkpoint is not None)
    unsupported += ["--compile"] * request.compile
    if unsupported:
        raise ValueError(
            f"{', '.join(unsupported)}: {CROSS_VALIDATED} is not trained in steps; cross-validation chooses its terms. "
            "Leave the option out."
        )
