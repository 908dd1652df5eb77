"""What a flow needs of its base and its bijection."""

from __future__ import annotations

from pushforward.core.bijection import Bijection
from pushforward.core.distribution import Distribution
from pushforward.core.domain import Real

__all__ = ["check_pair", "mixing"]


def mixing(bijection: Bijection) -> Bijection:
    """The first innermost part that is not triangular."""
    inside = (part for part in bijection.modules() if isinstance(part, Bijection) and part is not bijection)
    return next((mixing(part) for part in inside if not part.is_triangular), bijection)


def _check_kinds(base: object, bijection: object) -> None:
    """Refuse anything but a distribution and a bijection, and name what to give in its place."""
    if not isinstance(base, Distribution):
        remedy = "Give one such as distributions.StandardNormal(features)."
        if isinstance(base, Bijection) and isinstance(bijection, Distribution):
            remedy = "The base comes first: Flow(base, bijection)."
        raise ValueError(f"Flow: base must be a Distribution of pushforward; got {_kind(base)}. {remedy}")
    if not isinstance(bijection, Bijection):
        remedy = "Give one such as bijections.LU(features)."
        if isinstance(bijection, list | tuple):
            remedy = "Put the parts in bijections.Chain([...])."
        raise ValueError(f"Flow: bijection must be a Bijection of pushforward; got {_kind(bijection)}. {remedy}")


def _kind(value: object) -> str:
    """The class of a value, or the class itself where that was given, with the package that it comes from."""
    cls, article = (value, "the class ") if isinstance(value, type) else (type(value), "")
    package = cls.__module__.partition(".")[0]
    return article + (cls.__name__ if package == "builtins" else f"{package}'s {cls.__name__}")


def check_pair(base: Distribution, bijection: Bijection) -> None:
    """Refuse a base and a bijection that are none, or do not make a change of variables."""
    _check_kinds(base, bijection)
    if base.event_shape != bijection.in_shape:
        raise ValueError(
            f"Flow: base has events of shape {base.event_shape} but bijection starts from {bijection.in_shape}. "
            "Build both for events of the same shape."
        )
    if base.support != bijection.domain and not isinstance(bijection.domain, Real):
        raise ValueError(
            f"Flow: base lives on {base.support} but bijection starts from {bijection.domain}. "
            "Choose a base with that support, or turn the bijection around with .inv."
        )
    before = base.support.dimension(base.event_shape)
    after = bijection.codomain.dimension(bijection.out_shape)
    if before != after and bijection.keeps_dimension and bijection.log_det != "bound":
        raise ValueError(
            f"Flow: a change of variables keeps the dimension, but base has dimension {before} ({base.support}) and "
            f"bijection ends in dimension {after} ({bijection.codomain}). Choose a base of dimension {after}."
        )
