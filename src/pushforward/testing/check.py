"""All properties of a part in one call."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pushforward.core.bijection import Bijection
from pushforward.core.config import REGISTRY, build
from pushforward.core.distribution import Distribution
from pushforward.testing import bijections as of_bijections
from pushforward.testing import distributions as of_distributions
from pushforward.testing import modules as of_modules
from pushforward.testing import univariates as of_univariates
from pushforward.testing.case import Case
from pushforward.testing.continuity import continuous
from pushforward.testing.dependence import dependence
from pushforward.testing.quadrature import (
    has_grid,
    integrates_to_one,
    integrates_to_one_by_sampling,
    is_covered,
    masses,
    samples_follow_the_density,
)
from pushforward.testing.random_parts import (
    GENTLE,
    ORDINARY,
    context_for,
    float64_copy,
    generator,
    inputs,
    with_random_weights,
)
from pushforward.testing.univariate_points import EXTREME, MODERATE, random_params, random_points
from pushforward.univariate import Composed, Univariate

__all__ = [
    "bijection_properties",
    "check_bijection",
    "check_distribution",
    "check_univariate",
    "distribution_properties",
    "failures",
    "univariate_properties",
]

T = TypeVar("T", bound=nn.Module)
Property = Callable[[], None]

ROWS = 48
"""Points of a bijection: a dependence through rectified units shows at some points only."""

MATHEMATICS: tuple[Callable[[Case], None], ...] = (
    of_bijections.shapes_and_dtypes,
    of_bijections.batch_shapes,
    of_bijections.broadcasting,
    of_bijections.moves_points,
    of_bijections.round_trip,
    of_bijections.inverse_ladj,
    of_bijections.left_inverse,
    of_bijections.right_inverse,
    of_bijections.ladj_is_slogdet,
    of_bijections.value_path_is_pair_path,
)
IN_FLOAT64: tuple[Callable[[Case], None], ...] = (
    of_bijections.vmap_is_batch,
    of_bijections.gradients_reach_every_parameter,
    dependence,
    of_modules.survives_config,
    of_modules.survives_copies,
)
OF_MODULES: tuple[Callable[[nn.Module], None], ...] = (
    of_modules.moves_whole,
    of_modules.statistics_stay_wide,
    of_modules.overrides_no_module_name,
)
POINTWISE: tuple[Callable[[Univariate, Tensor, Tensor], None], ...] = (
    of_univariates.shapes,
    of_univariates.round_trip,
    of_univariates.onto,
    of_univariates.inverse_slope,
    of_univariates.slope_is_derivative,
    of_univariates.gradients_are_finite,
    of_univariates.value_path_is_pair_path,
    of_univariates.shared_parameters,
    of_univariates.increasing,
)
OF_DISTRIBUTIONS: tuple[Callable[[Distribution, Tensor | None], None], ...] = (
    of_distributions.sample_shapes,
    of_distributions.log_prob_of_samples,
    of_distributions.samples_follow_the_generator,
    of_distributions.rsample_gradients,
    of_distributions.survives_config_and_copies,
    of_distributions.condition_fixes_the_context,
)
INTEGRALS = (integrates_to_one, samples_follow_the_density)


def bijection_properties(bijection: Bijection, x: Tensor, context: Tensor | None = None) -> dict[str, Property]:
    """The properties of a bijection at these points, by name: functions without arguments that raise AssertionError.

    In float32, properties that take double precision or do not depend on the dtype are left out.

    Args:
        bijection: the map, its weights as they are.
        x: points of its domain, (n, *in_shape), with n at least 6.
        context: (n, *context_shape), where the bijection takes one.

    >>> from pushforward.bijections import LU
    >>> list(bijection_properties(LU(2), torch.randn(6, 2)))[:2]
    ['shapes_and_dtypes', 'batch_shapes']
    """
    case = Case(bijection, x, context)
    in_double = (bijection.dtype or x.dtype) == torch.float64
    checks: dict[str, Property] = {p.__name__: partial(p, case) for p in MATHEMATICS}
    if in_double:
        checks |= {p.__name__: partial(p, case) for p in IN_FLOAT64}
        checks |= {p.__name__: partial(p, bijection) for p in OF_MODULES}
    return checks


def univariate_properties(univariate: Univariate, x: Tensor, params: Tensor) -> dict[str, Property]:
    """The properties of a univariate at these points and parameters, by name.

    Args:
        univariate: the map.
        x: points of its domain, (n,).
        params: (num_params, n).
    """
    pointwise: dict[str, Property] = {p.__name__: partial(p, univariate, x, params) for p in POINTWISE}
    few = params[:, : min(8, params.shape[1])]
    pointwise["increasing"] = partial(of_univariates.increasing, univariate, x, few)
    return {**pointwise, "continuous": partial(continuous, univariate, few)}


def distribution_properties(distribution: Distribution, context: Tensor | None = None) -> dict[str, Property]:
    """The properties of a distribution in one context, by name; integrals on a grid or, in three and four
    dimensions, by points that cover the space.

    Args:
        distribution: with its weights as they are.
        context: of its ``context_shape``, where it takes one.
    """
    checks: dict[str, Property] = {p.__name__: partial(p, distribution, context) for p in OF_DISTRIBUTIONS}
    if distribution.exactness == "bound" or distribution.stochastic:
        pass  # what log_prob gives is no log-density, so its exponential need not integrate to one
    elif has_grid(distribution):
        grid = cache(partial(masses, distribution, context))
        checks |= {p.__name__: partial(p, distribution, context, grid) for p in INTEGRALS}
    elif is_covered(distribution):
        checks["integrates_to_one_by_sampling"] = partial(integrates_to_one_by_sampling, distribution, context)
    return checks | {p.__name__: partial(p, distribution) for p in OF_MODULES}


def failures(properties: Mapping[str, Property]) -> dict[str, Exception]:
    """The properties that fail, by name, each with its error; an error of any kind is a failure."""
    failed: dict[str, Exception] = {}
    for name, check in properties.items():
        try:
            check()
        except Exception as error:
            failed[name] = error
    return failed


def check_bijection(
    bijection: Bijection | type[Bijection],
    *,
    x: Tensor | None = None,
    context: Tensor | None = None,
    keep_weights: bool = False,
    dtype: torch.dtype = torch.float64,
) -> None:
    """Check every property of a bijection: shapes, batches, round trip, log-determinant against the autodiff Jacobian,
    gradients, dependences, vmap, config, copies and names.

    Args:
        bijection: a bijection, which is copied; or a class, of which each of its ``examples`` is checked.
        x: points of its domain, (n, *in_shape) with n at least 6; random ones by default.
        context: (n, *context_shape), where the bijection takes one; random by default.
        keep_weights: check with the weights as they are. By default all are drawn anew, because layers start close to
            the identity, which hides bugs.
        dtype: of the copy.

    Raises:
        AssertionError: a property fails; the message names each one that does, with numbers.
        ValueError: ``bijection`` is not one, or its class has no examples.

    >>> from pushforward.bijections import LU
    >>> check_bijection(LU(3))
    >>> check_bijection(LU)  # each of its examples
    """
    for part in _instances("check_bijection", bijection, Bijection, dtype, keep_weights):
        points, matching = inputs(part, (ROWS,), dtype=dtype)
        if x is not None:
            points = x.detach().to(part.in_dtype or dtype)
            matching = context_for(part, (len(points),), generator(1), part.dtype or dtype)
        matching = matching if context is None else context.detach().to(part.dtype or dtype)
        if len(points) < 6:
            raise ValueError(f"check_bijection: x must hold at least 6 points; got {len(points)}.")
        _report(part, bijection_properties(part, points, matching))


def check_univariate(
    univariate: Univariate | type[Univariate],
    *,
    x: Tensor | None = None,
    params: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> None:
    """Check every property of a univariate: increasing, continuous, inverse, slopes and gradients, also far out and
    beside knots, with ordinary and with nearly degenerate parameters.

    Args:
        univariate: a univariate, or a class, of which each of its ``examples`` is checked.
        x: points of its domain, (n,); random ones by default.
        params: (num_params, n); random ones by default.
        dtype: of points and parameters.

    Raises:
        AssertionError: a property fails; the message names each one that does, with numbers.
        ValueError: ``univariate`` is not one, or its class has no examples.

    >>> from pushforward.univariate import Affine
    >>> check_univariate(Affine())
    """
    wholes = _instances("check_univariate", univariate, Univariate, dtype, keep_weights=True)
    for part in (whole.for_feature(j) for whole in wholes for j in range(whole.features or 1)):
        # What rounding does between the parts of a composition, the next part may magnify without limit.
        composed = isinstance(part, Composed)
        for size in (MODERATE, EXTREME) if params is None and not composed else (MODERATE,):
            random = generator(int(size))
            count = 64 if x is None else len(x)
            points = random_points(part, count, dtype, random) if x is None else x.detach().to(dtype)
            values = random_params(part, count, size, dtype, random) if params is None else params.detach().to(dtype)
            _report(part, univariate_properties(part, points, values))
        _report(part, {p.__name__: partial(p, part) for p in (OF_MODULES[0], OF_MODULES[2])})


def check_distribution(
    distribution: Distribution | type[Distribution], *, context: Tensor | None = None, keep_weights: bool = False
) -> None:
    """Check every property of a distribution: shapes, support, seeds, gradients, config and copies; in one and two
    dimensions that it integrates to one and that samples follow the density.

    Args:
        distribution: a distribution, which is copied to float64; or a class, of which each of its ``examples`` is
            checked.
        context: of its ``context_shape``, where it takes one; random by default.
        keep_weights: check with the weights as they are instead of random ones.

    Raises:
        AssertionError: a property fails; the message names each one that does, with numbers.
        ValueError: ``distribution`` is not one, or its class has no examples.

    >>> from pushforward.distributions import StandardNormal
    >>> check_distribution(StandardNormal(1))
    """
    for part in _instances("check_distribution", distribution, Distribution, torch.float64, keep_weights):
        contexts = context_for(part, (), generator(21)) if context is None else context.detach().double()
        _report(part, distribution_properties(part, contexts))


def _instances(caller: str, part: T | type[T], kind: Any, dtype: torch.dtype, keep_weights: bool) -> Iterator[T]:
    """Copies of the part, or of what the examples of its class describe, with random weights."""
    name = part.__name__ if inspect.isclass(part) else type(part).__name__
    if not (issubclass(part, kind) if inspect.isclass(part) else isinstance(part, kind)):
        raise ValueError(f"{caller}: needs a {kind.__name__} or a class of them; got {name}.")
    makers: Iterable[Callable[[], T]]
    if inspect.isclass(part):
        examples = getattr(part, "examples", ())
        if not examples:
            raise ValueError(
                f"{caller}: {name} has no examples. Give the class JSON configs of its constructor, each option at "
                f'least once, such as examples = ({{"features": 2}},); or check an instance: {caller}({name}(...)).'
            )
        if REGISTRY.get(name) is not part:
            raise ValueError(f"{caller}: {name} is not registered. Put @configurable above the class.")
        makers = [partial(build, {"type": name, **json.loads(json.dumps(example))}) for example in examples]
    else:
        makers = [partial(float64_copy, part)]
    for number, make in enumerate(makers):
        if keep_weights:
            yield make().to(dtype).eval()
        else:
            yield with_random_weights(make, f"{name}-{number}", dtype, GENTLE if dtype == torch.float32 else ORDINARY)


def _report(part: nn.Module, properties: Mapping[str, Property]) -> None:
    failed = failures(properties)
    if not failed:
        return
    lines = [f"- {name}: {_message(error)}" for name, error in failed.items()]
    config: Any = getattr(part, "config", type(part).__name__)
    raise AssertionError(
        f"{type(part).__name__} breaks {len(failed)} of {len(properties)} properties ({config}):\n" + "\n".join(lines)
    ) from next(iter(failed.values()))


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
