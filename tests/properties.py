"""Properties: functions of an object and its inputs that raise AssertionError where the property is broken.

Properties of bijections take ``(bijection, x, context)``; those about names and memory take any module. Univariates and
distributions have properties of their own in `properties_univariate` and `properties_distribution`. Tolerances follow
the dtype, so the same properties run in float32.
"""

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import torch
from cases import MOVES, movement
from torch import Tensor, nn

from pushforward.bijections import (
    LU,
    Angle,
    Chain,
    Coupling,
    Elementwise,
    Flip,
    Inverse,
    Permute,
    RadialSquash,
    Rotation,
    Standardize,
)
from pushforward.core.bijection import Bijection, TriangularMap
from pushforward.core.config import build
from pushforward.networks import ConvNet

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-2}
SHARP = {torch.float64: 1e-9, torch.float32: 1e-3}  # the same arithmetic, summed in another order


def close(
    got: Tensor,
    expected: Tensor,
    what: str,
    tolerance: dict[torch.dtype, float] = TOLERANCE,
    *,
    through: Bijection | None = None,
) -> None:
    """Equal within the tolerance of the coarsest dtype involved, that of the weights included; NaN never agrees."""
    dtypes = {got.dtype, expected.dtype, *((through.in_dtype, through.out_dtype) if through is not None else ())}
    tol = max(tolerance[dtype] for dtype in dtypes - {None})
    torch.testing.assert_close(
        got.to(torch.float64), expected.to(torch.float64), rtol=tol, atol=tol, msg=lambda m: f"{what}: {m}"
    )


def same(got: Any, expected: Any, what: str) -> None:
    """Equal bit for bit."""
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype, f"{what}: {a.dtype} is not {b.dtype}"
        assert torch.equal(a, b), f"{what}: the numbers differ"


def directions(bijection: Bijection, x: Tensor, context: Tensor | None) -> list[tuple[str, Callable[..., Any], Tensor]]:
    """Both directions as (name, function to a pair, points of that side)."""
    y = bijection.forward(x, context).detach()
    return [("forward", bijection.forward_and_ladj, x), ("inverse", bijection.inverse_and_ladj, y)]


def jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """(n, out, in): the Jacobian at each of n points of a function that treats rows apart; events are flattened."""
    whole = torch.autograd.functional.jacobian(lambda t: function(t).sum(dim=0).flatten(), x, vectorize=True)
    return whole.flatten(2).movedim(1, 0)


# --- shapes --------------------------------------------------------------------------------------------------------


def shapes_and_dtypes(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """Every public method gives the stated shape and dtype, stays in the codomain, and leaves its input alone."""
    batch = x.shape[: x.ndim - len(bijection.in_shape)]
    before = x.clone()
    y, ladj = bijection.forward_and_ladj(x, context)
    back, back_ladj = bijection.inverse_and_ladj(y, context)
    assert (y.shape, back.shape) == ((*batch, *bijection.out_shape), x.shape), "an event shape is wrong"
    assert {ladj.shape, back_ladj.shape} == {batch}, f"ladj has shape {tuple(ladj.shape)}, not {tuple(batch)}"
    assert y.dtype == (bijection.out_dtype or x.dtype), f"y is {y.dtype}, not out_dtype"
    assert back.dtype == (bijection.in_dtype or x.dtype), f"the inverse gives {back.dtype}, not in_dtype"
    assert {torch.finfo(t.dtype).bits >= 32 for t in (ladj, back_ladj)} == {True}, "ladj is coarser than float32"
    assert bool(bijection.codomain.contains(y).all()), "a point left the stated codomain"
    assert isinstance(bijection, Inverse) or bijection.inv.inv is bijection, "T.inv.inv is not T"
    assert torch.equal(x, before), "the input was changed in place"


def batch_shapes(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """Batches of shape (), (n,), (2, 3), (0,) and a transposed memory layout give each row's own numbers."""
    x, context = x[:6], None if context is None else context[:6]
    for name, function, start in directions(bijection, x, context):
        values, ladj = function(start, context)

        def check(got: Any, index: Any, what: str, name: str = name, values: Any = values, ladj: Any = ladj) -> None:
            close(got[0], values[index], f"{name}, {what}", SHARP, through=bijection)
            close(got[1], ladj[index], f"{name} ladj, {what}", SHARP, through=bijection)

        for i in range(2):
            check(function(start[i], None if context is None else context[i]), i, "batch shape ()")
        folded = function(
            start.reshape(2, 3, *start.shape[1:]),
            None if context is None else context.reshape(2, 3, *context.shape[1:]),
        )
        assert folded[1].shape == (2, 3), f"{name}: ladj of a (2, 3) batch has shape {tuple(folded[1].shape)}"
        check((folded[0].flatten(0, 1), folded[1].flatten()), slice(None), "batch shape (2, 3)")
        empty = function(start[:0], None if context is None else context[:0])
        assert (empty[0].shape, empty[1].shape) == (values[:0].shape, (0,)), f"{name}: the empty batch"
        strided = start.movedim(0, -1).contiguous().movedim(-1, 0)
        check(function(strided, context), slice(None), "a non-contiguous batch")


def broadcasting(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """Batch shapes of x and context broadcast: the same numbers as with both written out."""
    if context is None:
        return
    for name, function, start in directions(bijection, x, context):
        pairs = [(start[:6].reshape(2, 3, *start.shape[1:]), context[:3]), (start[0], context), (start, context[0])]
        for few, known in pairs:
            batch = torch.broadcast_shapes(
                few.shape[: few.ndim - len(start.shape[1:])], known.shape[: known.ndim - len(context.shape[1:])]
            )
            full = function(few.expand(*batch, *start.shape[1:]), known.expand(*batch, *context.shape[1:]))
            got = function(few, known)
            assert got[1].shape == batch, f"{name}: broadcast to {tuple(got[1].shape)}, not {tuple(batch)}"
            close(got[0], full[0], f"{name}, broadcast", SHARP, through=bijection)
            close(got[1], full[1], f"{name} ladj, broadcast", SHARP, through=bijection)


# --- the mathematics -----------------------------------------------------------------------------------------------


def moves_points(bijection: Bijection, *_: Any) -> None:
    """Random weights move points: no other prop is tried on an identity."""
    moved = movement(bijection)
    assert moved is None or moved > MOVES, f"random weights move points by {moved:.3g} only"


def round_trip(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """There and back again, from both sides."""
    if "round_trip" not in bijection.properties:
        return
    y = bijection.forward(x, context)
    back = bijection.inverse(y, context)
    close(back, x, "inverse(forward(x)) is not x", through=bijection)
    close(bijection.forward(back, context), y, "forward(inverse(y)) is not y", through=bijection)


def inverse_ladj(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """The inverse's ladj is minus the forward's."""
    if "inverse_ladj" not in bijection.properties:
        return
    y, ladj = bijection.forward_and_ladj(x, context)
    close(bijection.inverse_and_ladj(y, context)[1], -ladj, "ladj of the inverse", through=bijection)


def ladj_is_slogdet(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """ladj is log|det| of the Jacobian that autodiff finds, in both directions."""
    if "jacobian" not in bijection.properties:
        return
    for name, function, start in directions(bijection, x, context):
        matrix = jacobian(lambda t, function=function: function(t, context)[0], start).to(torch.float64)
        expected = torch.linalg.slogdet(matrix)[1]
        close(function(start, context)[1], expected.to(x.dtype), f"ladj of the {name} direction", through=bijection)


def value_path_is_pair_path(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """``forward`` gives the first half of ``forward_and_ladj``; so does ``inverse``, recording gradients or not."""
    y = bijection.forward_and_ladj(x, context)[0]
    back = bijection.inverse_and_ladj(y, context)[0]
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            close(bijection.forward(x, context), y, "forward against forward_and_ladj", SHARP, through=bijection)
            close(bijection.inverse(y, context), back, "inverse against inverse_and_ladj", SHARP, through=bijection)


def vmap_is_batch(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """``torch.func.vmap`` over rows gives what the batch gives, with and without recording gradients."""
    for recording in (True, False):
        with torch.set_grad_enabled(recording):
            for name, function, start in directions(bijection, x, context):
                given = (start,) if context is None else (start, context)
                try:
                    got = torch.func.vmap(function)(*given)
                except RuntimeError as error:
                    raise AssertionError(f"{name} cannot be mapped over rows: {error}") from error
                for a, b in zip(got, function(*given), strict=True):
                    close(a, b, f"vmap of {name}", SHARP, through=bijection)


def gradients_reach_every_parameter(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """In both directions each parameter, x and context get a finite gradient, and one that is not zero."""
    for name, function, start in directions(bijection, x, context):
        start = start.detach().requires_grad_()
        known = None if context is None else context.detach().requires_grad_()
        bijection.zero_grad()
        value, ladj = function(start, known)
        weights = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
        loss = (weights * value).sum() + ladj.square().sum()
        loss.backward()
        leaves = {"x": start, **dict(bijection.named_parameters())}
        if known is not None:
            leaves["context"] = known
        for leaf, tensor in leaves.items():
            assert tensor.grad is not None, f"{name}: {leaf} gets no gradient"
            assert bool(tensor.grad.isfinite().all()), f"{name}: {leaf} gets a gradient that is not finite"
            # One feature has nothing off a diagonal and nothing before it.
            unused = tensor.numel() == 0 or (leaf.endswith("factors") and tensor.numel() == 1)
            assert unused or bool((tensor.grad != 0).any()), f"{name}: {leaf} gets a zero gradient"


# --- who depends on whom -------------------------------------------------------------------------------------------


def pattern(bijection: Bijection) -> tuple[Tensor, Tensor] | None:
    """Which inputs each output depends on (out, in), and whether it depends on the context (out,); None: no rule."""
    size = math.prod(bijection.in_shape)
    place = torch.arange(size).reshape(bijection.in_shape)
    eye, never = torch.eye(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    known = never if bijection.context_shape is None else ~never
    if isinstance(bijection, Angle | Elementwise | Standardize):
        return eye, known
    if isinstance(bijection, TriangularMap):
        return torch.ones(size, size).tril().bool(), known
    if isinstance(bijection, Coupling):
        moved = ~torch.tensor(bijection.split.keeps)
        return eye | moved[:, None] & ~moved[None, :] & near(bijection), known & moved
    if isinstance(bijection, LU | RadialSquash | Rotation):
        return torch.ones(size, size).bool(), known
    if isinstance(bijection, Permute):
        return eye[
            place.index_select(bijection.config.get("axis", -1), torch.tensor(bijection.config["order"])).flatten()
        ], known
    if isinstance(bijection, Flip):
        return eye[place.flip(bijection.config.get("axis", -1)).flatten()], known
    if isinstance(bijection, Inverse):
        return pattern_of_inverse(bijection.bijection)
    return compose([pattern(part) for part in bijection.parts]) if isinstance(bijection, Chain) else None


def near(bijection: Coupling) -> Tensor:
    """Which entries a convolution can see from each entry, (out, in): cells at most as far away as its layers reach."""
    size = math.prod(bijection.in_shape)
    if not isinstance(bijection.conditioner, ConvNet):
        return torch.ones(size, size).bool()
    axes = [torch.arange(n) for n in bijection.in_shape]
    cells = torch.cartesian_prod(*axes)[:, 1:]  # of each entry; all channels of a cell are seen together
    reach = len(bijection.conditioner.layers)
    return (cells[:, None] - cells[None, :]).abs().amax(dim=-1) <= reach


def pattern_of_inverse(bijection: Bijection) -> tuple[Tensor, Tensor] | None:
    if isinstance(bijection, Chain):
        return compose([pattern_of_inverse(part) for part in list(bijection.parts)[::-1]])
    found = pattern(bijection.inv if isinstance(bijection, Inverse) else bijection)
    return (found[0].t(), found[1]) if found is not None and isinstance(bijection, Permute | Flip) else found


def compose(patterns: list[tuple[Tensor, Tensor] | None]) -> tuple[Tensor, Tensor] | None:
    if any(p is None for p in patterns):
        return None
    on_x, on_context = patterns[0]
    for then_x, then_context in patterns[1:]:
        on_context = (then_x.int() @ on_context.int()).bool() | then_context
        on_x = (then_x.int() @ on_x.int()).bool()
    return on_x, on_context


def dependence(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """Every dependence that should exist does, the first feature's on the context included, and no other."""
    expected = pattern(bijection)
    if expected is None:
        return
    found = jacobian(lambda t: bijection.forward(t, context), x).abs().amax(dim=0)
    assert bool((found[~expected[0]] == 0).all()), f"an output sees what it may not see:\n{found}"
    assert bool((found[expected[0]] > 1e-12).all()), f"a dependence is lost:\n{found}"
    if context is not None:
        seen = jacobian(lambda c: bijection.forward(x, c), context).abs().amax(dim=0)
        assert bool((seen[~expected[1]] == 0).all()), f"an output sees the context that it may not see:\n{seen}"
        assert bool((seen[expected[1]] > 1e-12).all()), f"an output does not see the whole context:\n{seen}"


# --- copies --------------------------------------------------------------------------------------------------------


def survives_config(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """config -> JSON -> build -> load_state_dict gives the same numbers."""
    twin = build(json.loads(json.dumps(bijection.config)))
    assert twin.config == bijection.config, "the rebuilt part has another config"
    twin = twin.to(bijection.dtype or x.dtype).eval()
    keys = twin.load_state_dict(bijection.state_dict(), strict=False)
    assert not keys.missing_keys + keys.unexpected_keys, f"the state dict differs in {keys}"
    same(twin.forward_and_ladj(x, context), bijection.forward_and_ladj(x, context), "rebuilt from its config")


def survives_copies(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """deepcopy and pickle give the same numbers and share no memory."""
    expected = bijection.forward_and_ladj(x, context)
    for twin in (copy.deepcopy(bijection), pickle.loads(pickle.dumps(bijection))):
        same(twin.forward_and_ladj(x, context), expected, "a copy")
        with torch.no_grad():
            for tensor in twin.state_dict().values():
                tensor.zero_()
    same(bijection.forward_and_ladj(x, context), expected, "the original after its copy changed")


def moves_whole(module: nn.Module, *_: Any) -> None:
    """``.to(device)`` moves everything: no tensor hides in a plain attribute."""
    moved = copy.deepcopy(module).to("meta")
    left = [name for name, t in [*moved.named_parameters(), *moved.named_buffers()] if t.device.type != "meta"]
    hidden = [
        f"{type(part).__name__}.{name}"
        for part in moved.modules()
        for name, value in vars(part).items()
        if any(isinstance(v, Tensor) for v in (value if isinstance(value, list | tuple) else [value]))
    ]
    assert left + hidden == [], f"left behind by .to(device): {left + hidden}"


def float32_is_close(bijection: Bijection, x: Tensor, context: Tensor | None) -> None:
    """``.to(float32)`` gives numbers close to float64's; ``.to(float64)`` brings the dtype back."""
    narrow = copy.deepcopy(bijection).to(torch.float32)
    known = None if context is None else context.float()
    for direction in ("forward_and_ladj", "inverse_and_ladj"):
        start = x if direction == "forward_and_ladj" else bijection.forward(x, context)
        dtype = narrow.in_dtype if direction == "forward_and_ladj" else narrow.out_dtype
        got = getattr(narrow, direction)(start.to(dtype or torch.float32), known)
        expected = getattr(bijection, direction)(start, context)
        for a, b in zip(got, expected, strict=True):
            close(a.float(), b, f"float32 against float64, {direction}", through=bijection)
    assert narrow.to(torch.float64).dtype == bijection.dtype, "the dtype does not come back"


def statistics_stay_wide(module: nn.Module, *_: Any) -> None:
    """What is kept in float64 whatever the model's dtype is never narrowed by a conversion."""
    wide = {name for name, t in copy.deepcopy(module).to(torch.float32).named_buffers() if t.dtype == torch.float64}
    kept = {f"{n}.{b}".lstrip(".") for n, m in module.named_modules() if isinstance(m, Standardize) for b in WIDE}
    assert wide >= kept, f"narrowed by .to(float32): {sorted(kept - wide)}"
    before = {name: t.clone() for name, t in module.named_buffers() if name in kept}
    after = dict(copy.deepcopy(module).to(torch.float16).to(torch.float64).named_buffers())
    lost = [name for name, t in before.items() if not torch.equal(after[name], t)]
    assert not lost, f"digits lost in {lost}"


WIDE = ("mean", "scale")


# --- names ---------------------------------------------------------------------------------------------------------

# forward is how a module is called; extra_repr is torch's own hook for printing; _apply is overridden by Standardize
# alone, so that .to(dtype) moves its float64 statistics without narrowing them.
OVERRIDES = {"forward", "extra_repr", "_apply"}


def overrides_no_module_name(module: nn.Module, *_: Any) -> None:
    """No method, attribute, parameter, buffer or child hides a name of ``nn.Module``."""
    taken = {name for name in dir(nn.Module) if not name.startswith("__")} - OVERRIDES
    usual = set(vars(nn.Module()))
    clashes = set()
    for part in module.modules():
        if not type(part).__module__.startswith("pushforward."):
            continue
        own = {name for cls in type(part).__mro__ if cls.__module__.startswith("pushforward.") for name in vars(cls)}
        own |= set(vars(part)) - usual
        own |= {*part._parameters, *part._buffers, *part._modules}
        clashes |= {f"{type(part).__name__}.{name}" for name in own & taken}
    assert not clashes, f"hides a name of nn.Module: {sorted(clashes)}"
