"""How long and how fast a run learns: budget, batches, learning rate, optimiser, early stopping."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypedDict

import torch

from pushforward.train.history import TrainingError
from pushforward.train.plan import Plan, described

__all__ = ["ConstantRate", "CosineDecay", "Decay", "FixedCosine", "LinearDecay", "Schedule", "ScheduleOptions"]


class Decay(ABC):
    """The learning rate in the course of a run, as a factor of its highest value."""

    @abstractmethod
    def __call__(self, done: float, step: int) -> float:
        """The factor after ``step`` steps, when the part ``done`` of the budget is used, from 0 to 1."""


@dataclass(frozen=True)
class CosineDecay(Decay):
    """A linear rise over the part ``warmup`` of the budget, and half a cosine down to zero over all of it.

    Raises:
        TrainingError: ``warmup`` is not a part from 0 up to 1.

    References:
        | SGDR: Stochastic Gradient Descent with Warm Restarts (Loshchilov, Hutter, 2017), arXiv:1608.03983
    """

    warmup: float = 0.02

    def __post_init__(self) -> None:
        _check_warmup("CosineDecay", self.warmup)

    def __call__(self, done: float, step: int) -> float:
        return _rise(done, self.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class LinearDecay(Decay):
    """A linear rise over the part ``warmup`` of the budget, and a straight line down to zero over all of it.

    Raises:
        TrainingError: ``warmup`` is not a part from 0 up to 1.
    """

    warmup: float = 0.02

    def __post_init__(self) -> None:
        _check_warmup("LinearDecay", self.warmup)

    def __call__(self, done: float, step: int) -> float:
        return _rise(done, self.warmup) * (1 - min(1.0, done))


@dataclass(frozen=True)
class FixedCosine(Decay):
    """`CosineDecay` of a run of ``steps`` steps, for one that ends before: where weights are averaged, a high rate at
    the end does no harm.

    Raises:
        TrainingError: ``steps`` is not a whole number of at least 1, or ``warmup`` not a part from 0 up to 1.
    """

    steps: int
    warmup: float = 0.02

    def __post_init__(self) -> None:
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise TrainingError(f"FixedCosine: steps must be a whole number of at least 1; got {self.steps!r}.")
        _check_warmup("FixedCosine", self.warmup)

    def __call__(self, done: float, step: int) -> float:
        return CosineDecay(self.warmup)((step + 0.5) / self.steps, step)


@dataclass(frozen=True)
class ConstantRate(Decay):
    """A linear rise over ``warmup`` steps, then one rate: for runs without a known end.

    Raises:
        TrainingError: ``warmup`` is not a whole number of at least 0.
    """

    warmup: int = 100

    def __post_init__(self) -> None:
        if not (isinstance(self.warmup, int) and self.warmup >= 0):
            raise TrainingError(f"ConstantRate: warmup must be a number of steps, 0 or more; got {self.warmup!r}.")

    def __call__(self, done: float, step: int) -> float:
        return min(1.0, (step + 1) / (self.warmup + 1))


def _rise(done: float, warmup: float) -> float:
    return min(1.0, done / warmup) if warmup else 1.0


def _check_warmup(owner: str, warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise TrainingError(f"{owner}: warmup must be a part of the budget, from 0 up to 1; got {warmup}.")


DECAYS: dict[str, Decay] = {"cosine": CosineDecay(), "linear": LinearDecay(), "constant": ConstantRate()}
STEPS_WITHOUT_DATA = 2_000


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The budget of a run and how it is spent. Each field may also be given to `fit` by its name.

    The budget is ``steps``, ``epochs`` or ``seconds``; of several the first one used up ends the run. With none it is
    100 epochs, but between 1,000 and 10,000 steps (2,000 steps for losses that learn without data).

    Raises:
        TrainingError: a field is out of its range.
    """

    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the training rows."""
    seconds: float | None = None
    """Time of training."""
    batch_size: int | None = None
    """Rows per step; by default about a twentieth of the rows, from 64 to 1024. Rows that do not fill the last batch of
    an epoch are left out of it."""
    accumulate: int = 1
    """Pieces into which each batch is cut, whose gradients are added up: the same steps in less memory, one piece at a
    time. With several processes each cuts its own part."""
    lr: float = 4e-3
    """The highest learning rate."""
    decay: str | Decay = "cosine"
    """The learning rate over the budget: "cosine", "linear" or "constant", or an object such as
    ``CosineDecay(warmup=0.1)``."""
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    """Called as ``optimizer(parameters, lr=lr)``, such as ``torch.optim.SGD`` or ``functools.partial(torch.optim.AdamW,
    amsgrad=True)``; parameter groups keep the ratios of their rates. By default AdamW with betas (0.9, 0.99)."""
    weight_decay: float = 1e-4
    """Of the default optimiser."""
    clip: float | None = 5.0
    """Largest norm of the gradient, beyond which it is scaled down; None for no limit."""
    patience: int | None = 20
    """Validations without a new best before the run stops early; None to never stop early."""
    validate_every: int | None = None
    """Steps between two validations; by default an epoch, but at least 25 and at most 2,000 steps."""
    ema: float | None = 0.998
    """Decay of the exponential moving average of the weights, which is validated and kept; None to keep the weights
    themselves."""
    seed: int = 0
    """Of the split, the order of the rows, dropout and estimates."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "patience", "validate_every"):
            self._check(name, Integral, "a positive whole number", lambda value: value > 0, optional=True)
        for name in ("epochs", "seconds", "clip"):
            self._check(name, Real, "a positive number", lambda value: 0 < value < math.inf, optional=True)
        self._check("lr", Real, "a positive number", lambda value: 0 < value < math.inf)
        self._check("accumulate", Integral, "a positive whole number", lambda value: value > 0)
        self._check("weight_decay", Real, "a number of at least 0", lambda value: 0 <= value < math.inf)
        self._check("ema", Real, "a number from 0 up to 1", lambda value: 0 <= value < 1, optional=True)
        self._check("seed", Integral, "a whole number", lambda value: True)
        if not isinstance(self.decay, Decay) and self.decay not in DECAYS:
            names = ", ".join(map(repr, DECAYS))
            raise TrainingError(f"Schedule: decay must be one of {names}, or a Decay; got {self.decay!r}.")
        if self.optimizer is not None and not callable(self.optimizer):
            raise TrainingError(
                "Schedule: optimizer must be called as optimizer(parameters, lr=lr), such as torch.optim.SGD; got "
                f"{type(self.optimizer).__name__}."
            )

    def _check(self, name: str, kind: type, what: str, fits: Callable[[Any], bool], *, optional: bool = False) -> None:
        value: Any = getattr(self, name)
        if value is None and optional:
            return
        if isinstance(value, bool) or not isinstance(value, kind) or not fits(value):
            other = ", or None" if optional else ""
            raise TrainingError(f"Schedule: {name} must be {what}{other}; got {value!r}.")
        # Numbers of other libraries, such as NumPy's, are no JSON for a checkpoint.
        plain: Any = int if isinstance(value, Integral) else float
        object.__setattr__(self, name, plain(value))

    @property
    def rate(self) -> Decay:
        """``decay`` as an object."""
        return DECAYS[self.decay] if isinstance(self.decay, str) else self.decay

    def optimizer_of(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        if self.optimizer is None:
            return torch.optim.AdamW(
                parameters, lr=self.lr, weight_decay=self.weight_decay, fused=True, betas=(0.9, 0.99)
            )
        optimizer = self.optimizer(parameters, lr=self.lr)
        if not isinstance(optimizer, torch.optim.Optimizer) or isinstance(optimizer, torch.optim.LBFGS):
            raise TrainingError(
                "fit: optimizer must return a torch.optim.Optimizer whose steps need no closure, such as "
                f"torch.optim.SGD; got {type(optimizer).__name__}."
            )
        return optimizer

    def plan(self, rows: int | None, **run: Any) -> Plan:
        """What this schedule means for so many training rows; None for a loss that learns without data."""
        if rows is None:
            if self.epochs is not None:
                raise TrainingError("fit: epochs are passes over data, and this loss learns without. Use steps.")
            batch_size, per_epoch, steps = self.batch_size or 256, 50, self.steps
            default_steps = STEPS_WITHOUT_DATA
        else:
            automatic = min(1024, max(64, 2 ** round(math.log2(max(1, rows / 20)))))
            batch_size = min(self.batch_size or automatic, rows)
            per_epoch = max(1, rows // batch_size)
            default_steps = min(10_000, max(1_000, 100 * per_epoch))
            limits = [self.steps, None if self.epochs is None else max(1, round(self.epochs * per_epoch))]
            steps = min((limit for limit in limits if limit is not None), default=None)
        if steps is None and self.seconds is None:
            steps = default_steps
        return Plan(
            batch_size=batch_size,
            steps=steps,
            seconds=self.seconds,
            lr=self.lr,
            decay=described(self.rate),
            optimizer="AdamW" if self.optimizer is None else described(self.optimizer),
            weight_decay=self.weight_decay,
            clip=self.clip,
            validate_every=self.validate_every or min(2_000, max(25, per_epoch)),
            ema=self.ema,
            seed=self.seed,
            accumulate=self.accumulate,
            **run,
        )


class ScheduleOptions(TypedDict, total=False):
    """The fields of `Schedule`, as keywords of `fit`."""

    steps: int | None
    epochs: float | None
    seconds: float | None
    batch_size: int | None
    accumulate: int
    lr: float
    decay: str | Decay
    optimizer: Callable[..., torch.optim.Optimizer] | None
    weight_decay: float
    clip: float | None
    patience: int | None
    validate_every: int | None
    ema: float | None
    seed: int
