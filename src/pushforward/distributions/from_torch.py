"""Distributions of ``torch.distributions`` as distributions of this library, bases of flows included."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch import distributions as td

from pushforward.core.config import configurable, register_adapter
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Circle, Domain
from pushforward.core.random_state import seeded
from pushforward.core.shapes import sum_event
from pushforward.core.torch_constraints import domain_of_constraint

__all__ = ["TorchDistribution", "from_torch"]


class _TorchBacked(Distribution):
    """What both kinds share: an object of torch, all of whose batch axes belong to one event."""

    @abstractmethod
    def _object(self) -> td.Distribution:
        """The object of torch, with the present parameters."""

    def _measure(self, distribution: td.Distribution) -> None:
        """Take event shape and support over."""
        shape = tuple(distribution.batch_shape + distribution.event_shape)
        self.event_shape = shape or (1,)
        self.is_scalar = not shape
        self.num_axes = len(distribution.batch_shape)
        self.support = _domain_of(distribution, self.event_shape)
        self.reparametrized = bool(distribution.has_rsample)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        value: Tensor = self._object().log_prob(x[..., 0] if self.is_scalar else x)
        return sum_event(value, self.num_axes)

    def _rsample(self, batch: tuple[int, ...], context: Tensor | None, generator: torch.Generator | None) -> Tensor:
        distribution = self._object()
        draw = distribution.rsample if self.reparametrized else distribution.sample
        # Torch's distributions draw from its global generator alone: it is seeded for the while.
        scope: Any = nullcontext()
        if generator is not None:
            number = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            devices = {"cpu"} if self.dtype is None else {"cpu", str(self._device())}
            scope = seeded(number, devices)
        with scope:
            x: Tensor = draw(torch.Size(batch))
        x = x[..., None] if self.is_scalar else x
        return x if x.is_floating_point() else x.to(self.dtype or torch.get_default_dtype())

    def _device(self) -> torch.device:
        return next(t.device for t in [*self.parameters(), *self.buffers()])

    def _mean(self, context: Tensor | None) -> Tensor | None:
        try:
            return self._object().mean.reshape(self.event_shape)
        except NotImplementedError:
            return None

    def _entropy(self, context: Tensor | None) -> Tensor | None:
        try:
            return sum_event(self._object().entropy(), self.num_axes)
        except NotImplementedError:
            return None


@configurable
class TorchDistribution(_TorchBacked):
    r"""A distribution of ``torch.distributions`` by its name and parameters; see `from_torch` for one that exists.

    Axes of the parameters are axes of one event, whose entries are independent along them. Discrete distributions have
    probabilities in place of densities. Densities and points cost what torch's cost. Torch draws from its global
    generator alone, which is seeded while points are drawn with a generator of yours.

    Args:
        name: of the class, such as ``"HalfNormal"``.
        parameters: its arguments, numbers or nested lists of them.
        learn: whether the parameters are learned, kept inside of their constraints by torch's own transforms.

    Shape:
        ``x``: (*batch, *event shape); of a distribution of one number (*batch, 1).

    Raises:
        ValueError: there is no such class, it does not take these parameters, its support is none that this library
            knows, or parameters that decide the support are to be learned.

    >>> import torch
    >>> half = TorchDistribution("HalfNormal", {"scale": [1.0]})
    >>> half.log_prob(torch.tensor([[0.0], [-1.0]])).exp().tolist()
    [0.7978845834732056, 0.0]
    """

    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"name": "HalfNormal", "parameters": {"scale": [1.0, 2.0]}},
        {"name": "Kumaraswamy", "parameters": {"concentration1": 2.0, "concentration0": 1.5}, "learn": True},
    )

    def __init__(self, name: str, parameters: Mapping[str, Any], *, learn: bool = False) -> None:
        super().__init__()
        cls: Any = getattr(td, name, None) if isinstance(name, str) else None
        is_class: bool = isinstance(cls, type) and issubclass(cls, td.Distribution)
        if not is_class:
            raise ValueError(f"TorchDistribution: torch.distributions has no class {name!r}.")
        self.cls, self.learn = cls, learn
        tensors = {key: torch.tensor(value, dtype=torch.float64, device="cpu") for key, value in parameters.items()}
        try:
            distribution = cls(**tensors, validate_args=True)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"TorchDistribution: {name} does not take these parameters: {reason}") from None
        self._measure(distribution)
        self.keys = list(tensors)
        self.transforms = {}
        if learn and _decides_support(distribution):
            raise ValueError(f"TorchDistribution: the parameters of {name} decide its support; they cannot be learned.")
        for key, value in tensors.items():
            if learn:
                self.transforms[key] = distribution.arg_constraints[key]
                raw = td.biject_to(self.transforms[key]).inv(value)
                self.register_parameter(f"raw_{key}", nn.Parameter(torch.tensor(raw.tolist())))
            else:
                self.add_constant(f"value_{key}", value.tolist())

    def _object(self) -> td.Distribution:
        values = {}
        for key in self.keys:
            if self.learn:
                values[key] = td.biject_to(self.transforms[key])(getattr(self, f"raw_{key}"))
            else:
                values[key] = getattr(self, f"value_{key}")
        return self.cls(**values, validate_args=False)


class _AnyTorchDistribution(_TorchBacked):
    """An object of torch that numbers alone do not describe, such as a mixture. It cannot be written to a file."""

    like: Tensor

    def __init__(self, distribution: td.Distribution) -> None:
        super().__init__()
        self.distribution = distribution
        self._measure(distribution)
        self.add_constant("like", 0.0)

    @property
    def dtype(self) -> torch.dtype | None:
        return None  # any: the object's own numbers keep theirs

    def _object(self) -> td.Distribution:
        return self.distribution


def from_torch(distribution: td.Distribution, *, learn: bool = False) -> Distribution:
    """An object of ``torch.distributions`` as a distribution of this library. `Flow` and other parts that take
    distributions take such an object as well: ``Flow(torch.distributions.Laplace(torch.zeros(2), 1.0), ...)``.

    Its batch axes become axes of one event. Where numbers describe it (most classes) the result is a
    `TorchDistribution`, which can be saved; of others (mixtures, transformed distributions, classes of your own) the
    object itself is kept, with its device and dtype, and saving refuses with a sentence.

    Args:
        distribution: the object.
        learn: whether its parameters are to be learned; for classes that numbers describe.

    Raises:
        ValueError: this is no such object, its support is none that this library knows, or it cannot be learned.

    >>> import torch
    >>> from_torch(torch.distributions.Gumbel(torch.zeros(2), torch.ones(2))).config["name"]
    'Gumbel'
    """
    if not isinstance(distribution, td.Distribution):
        raise ValueError(
            f"from_torch: distribution must be a torch.distributions.Distribution; got {type(distribution).__name__}."
        )
    plain: td.Distribution = distribution
    while type(plain) is td.Independent:  # which axes belong to the event makes no difference here
        plain = plain.base_dist
    parameters = _numbers_of(plain)
    if parameters is not None:
        return TorchDistribution(type(plain).__name__, parameters, **({"learn": True} if learn else {}))
    if learn:
        raise ValueError(
            f"from_torch: {type(plain).__name__} has parts that are not numbers; they cannot be learned here. Keep "
            "the object's own parameters in your optimizer."
        )
    return _AnyTorchDistribution(distribution)


register_adapter(td.Distribution, from_torch)

ALTERNATIVES = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"))
"""Parameters of which one is enough, the one to keep first."""


def _numbers_of(distribution: td.Distribution) -> dict[str, Any] | None:
    """The arguments that describe an object; None where numbers do not."""
    cls = type(distribution)
    if getattr(td, cls.__name__, None) is not cls:
        return None
    names: Any = distribution.arg_constraints  # of some classes a property of the object
    held = {key: vars(distribution)[key] for key in names if key in vars(distribution)}
    if not held and isinstance(distribution, td.TransformedDistribution):  # HalfCauchy, LogNormal, ...
        held = {key: getattr(distribution, key) for key in names if hasattr(distribution, key)}
    for group in ALTERNATIVES:
        first = next((key for key in group if key in held), None)
        held = {key: value for key, value in held.items() if key not in group or key == first}
    if any(isinstance(value, Tensor) and value.requires_grad for value in held.values()):
        return None  # they are learned where they are
    if not held or not all(isinstance(value, Tensor | int | float) for value in held.values()):
        return None
    # Parameters as they were given, before torch expanded them: only the expanded ones are known, which mean the same.
    numbers = {key: value.detach().tolist() if isinstance(value, Tensor) else value for key, value in held.items()}
    try:
        cls(**{key: torch.tensor(value, dtype=torch.float64) for key, value in numbers.items()})
    except (TypeError, ValueError):
        return None
    return numbers


def _decides_support(distribution: td.Distribution) -> bool:
    support: Any = distribution.support
    return any(isinstance(getattr(support, end, None), Tensor) for end in ("lower_bound", "upper_bound"))


def _domain_of(distribution: td.Distribution, shape: tuple[int, ...]) -> Domain:
    """The domain of events of this shape."""
    if isinstance(distribution, td.VonMises):
        return Circle()  # torch calls it the line
    if isinstance(distribution, td.MixtureSameFamily):
        return _domain_of(distribution.component_distribution, shape)
    domain = domain_of_constraint(distribution.support, shape)
    if domain is None:
        raise ValueError(
            f"TorchDistribution: the support {distribution.support} of {type(distribution).__name__} is none of the "
            "spaces of pushforward.core.domain."
        )
    return domain
