"""Properties of fast paths: a bijection inside ``execution(kernels=True)`` against itself outside.

Each takes (bijection, x, context), with weights in float64, and raises AssertionError where it fails. `watched_kernels`
tells which kernels have run.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from cases import generator
from torch import Tensor, nn
from torch.autograd import forward_ad

from pushforward.core import dispatch
from pushforward.core.execution_mode import execution
from pushforward.testing.case import seeded
from pushforward.testing.comparison import close
from pushforward.univariate import Monotone

COUNTS = (1, 16, 37)
"""Vectors hold 8 or 16 numbers of float32 and 4 or 8 of float64: none full, exactly full, and several with a rest."""


@contextlib.contextmanager
def watched_kernels() -> Iterator[list[tuple[str, nn.Module]]]:
    """The kernels that compute something meanwhile, by name, and the parts for which they do, in their order."""
    seen: list[tuple[str, nn.Module]] = []
    kernels = {id(kernel): kernel for registered in dispatch._KERNELS.values() for kernel in registered}.values()

    def watched(kernel):
        run = kernel.run  # of its class

        def note(part, *args):
            result = run(part, *args)
            if result is not NotImplemented:
                seen.append((type(kernel).__name__, part))
            return result

        return note

    for kernel in kernels:
        kernel.run = watched(kernel)
    try:
        yield seen
    finally:
        for kernel in kernels:
            del kernel.run


def directions(bijection, x, context) -> dict[str, tuple[Callable, Tensor]]:
    """Each public way through the bijection, and the points where it starts."""
    with torch.no_grad():
        y = seeded(bijection.forward)(x, context)
    ways = {"forward_and_ladj": x, "forward": x, "inverse_and_ladj": y, "inverse": y}
    if bijection.inverse_kind == "none":
        ways = {"forward_and_ladj": x, "forward": x}
    return {way: (seeded(getattr(bijection, way)), start) for way, start in ways.items()}


def tensors(result) -> list[Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


def rows(count, x, context):
    return x[:count], None if context is None else context[:count]


def both(call: Callable[[], list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """What it gives with kernels and without."""
    with execution(kernels=True):
        fast = call()
    return fast, call()


def compare(call: Callable[[], list[Tensor]], names: list[str], through=None) -> None:
    for name, fast, plain in zip(names, *both(call), strict=True):
        close(fast, plain, name, through=through)


def gives_the_same_values(bijection, x, context):
    """In both directions, without gradients and while they are recorded, for every count of rows."""
    for way, (function, start) in directions(bijection, x, context).items():
        for count in sorted({min(count, len(x)) for count in (*COUNTS, len(x))}):
            arguments = rows(count, start, context)
            for recording in (False, True) if count == len(x) else (False,):
                with torch.set_grad_enabled(recording):
                    what = f"{way} of {count} rows{' with gradients' if recording else ''}"
                    compare(lambda f=function, g=arguments: tensors(f(*g)), [what] * (2 if "ladj" in way else 1))


def gives_the_same_gradients(bijection, x, context):
    """Of every parameter, of the points and of the context, in both directions."""
    named_weights = [(name, p) for name, p in bijection.named_parameters() if p.requires_grad]
    for way, (function, start) in directions(bijection, x, context).items():
        for count in (1, min(37, len(x))):

            def gradients(function=function, start=start, count=count):
                arguments = rows(count, start, context)
                leaves = [t.clone().requires_grad_() for t in arguments if t is not None]
                if not leaves[0].is_floating_point():
                    return []
                values = [t for t in tensors(function(*leaves)) if t.is_floating_point()]
                wanted = [*leaves, *(p for _, p in named_weights)]
                recorded = torch.tensor([float(t.requires_grad) for t in values])
                total = sum((t.sin() * weigh(t)).sum() for t in values if t.requires_grad)
                if not torch.is_tensor(total):
                    return [recorded]
                outcome = torch.autograd.grad(total, wanted, allow_unused=True)
                return [
                    recorded,
                    *(torch.zeros_like(p) if g is None else g for p, g in zip(wanted, outcome, strict=True)),
                ]

            fast, plain = both(gradients)
            names = [
                "whether it is recorded",
                "the points",
                *(["the context"] if context is not None else []),
                *(name for name, _ in named_weights),
            ]
            assert len(fast) == len(plain), f"{way}: no gradients are recorded"
            for name, a, b in zip(names, fast, plain, strict=False):
                close(a, b, f"{way}: gradient of {name} from {count} rows")


def weigh(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=generator(like.numel()), dtype=like.dtype)


def gives_the_same_second_derivatives(bijection, x, context):
    """Forwards: of the squared gradients, in the points and in every parameter."""
    arguments = [t for t in rows(7, x, context) if t is not None]
    named_weights = [(name, p) for name, p in bijection.named_parameters() if p.requires_grad]

    def derivatives():
        leaves = [t.clone().requires_grad_() for t in arguments]
        wanted = [*leaves, *(p for _, p in named_weights)]
        value, ladj = seeded(bijection.forward_and_ladj)(*leaves)
        total = value.sin().sum() + ladj.sin().sum()
        first = torch.autograd.grad(total, wanted, create_graph=True, allow_unused=True)
        squares = sum(g.square().sum() for g in first if g is not None and g.requires_grad)
        if not torch.is_tensor(squares):
            return []
        second = torch.autograd.grad(squares, wanted, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, second, strict=True)]

    names = ["points", "context"][: len(arguments)] + [name for name, _ in named_weights]
    for name, a, b in zip(names, *both(derivatives), strict=False):
        scale = 1 + b.abs().max() if b.numel() else 1.0
        close(a / scale, b / scale, f"second derivative of {name}")


def gives_the_same_tangents(bijection, x, context):
    """Derivatives that travel forwards, which ``no_grad`` does not stop. Torch does not nest them: a monotone function
    whose slope is one of them has none."""
    if any(isinstance(part, Monotone) for part in bijection.modules()):
        return
    for way, (function, start) in directions(bijection, x, context).items():
        if "ladj" not in way:
            continue
        arguments = rows(2, start, context)

        def tangents(function=function, arguments=arguments):
            with torch.no_grad(), forward_ad.dual_level():
                dual = forward_ad.make_dual(arguments[0], weigh(arguments[0]))
                outcome = [forward_ad.unpack_dual(t).tangent for t in tensors(function(dual, arguments[1]))]
            return [torch.zeros(()) if t is None else t for t in outcome]

        for fast, plain in zip(*both(tangents), strict=True):
            assert fast.shape == plain.shape, f"{way}: a tangent is lost"
            close(fast, plain, f"tangent of {way}")


def follows_its_weights(bijection, x, context):
    """After weights are changed in place, put elsewhere, converted, or loaded, the values are those of the new ones."""

    def in_place(p):
        p.data.mul_(1.1)

    def elsewhere(p):
        p.data = p.data * 0.9

    def turned(p):
        if p.ndim == 2:
            p.data = (0.9 * p.data).t().contiguous().t()

    bijection, arguments = copy.deepcopy(bijection), rows(7, x, context)

    def values():
        with torch.no_grad():
            return tensors(seeded(bijection.forward_and_ladj)(*arguments))

    for change in (in_place, elsewhere, turned, in_place):
        with execution(kernels=True):
            values()  # whatever is remembered of the weights is remembered now
        for parameter in bijection.parameters():
            change(parameter)
        compare(values, [f"value after weights were changed: {change.__name__}", "its ladj"])
    wide = arguments
    for dtype in (torch.float32, torch.float64):
        bijection.to(dtype)
        arguments = wide[0].to(bijection.in_dtype or dtype), None if context is None else wide[1].to(dtype)
        compare(values, [f"value after a conversion to {dtype}", "its ladj"], through=bijection)


def follows_the_settings(bijection, x, context):
    """Dropout by the generator of the scope, products in bfloat16: as without kernels."""
    bijection = copy.deepcopy(bijection).to(torch.float32)  # products in float64 keep their dtype
    arguments = x.to(bijection.in_dtype or torch.float32), None if context is None else context.to(torch.float32)
    for recording in (False, True):
        with torch.set_grad_enabled(recording):

            def dropping():
                bijection.train()
                try:
                    with execution(generator=generator(3)):
                        return tensors(seeded(bijection.forward_and_ladj)(*arguments))
                finally:
                    bijection.eval()

            compare(dropping, ["value in training", "its ladj"], through=bijection)

            def values(dtype):
                with execution(matmul_dtype=dtype):
                    return [t.double() for t in tensors(seeded(bijection.forward_and_ladj)(*arguments))]

            fast, plain = both(lambda: values("bf16"))
            for a, b, full in zip(fast, plain, values(None), strict=True):
                rounded = (b - full).norm()
                assert (a - b).norm() <= 0.5 * rounded + 1e-5 * b.norm(), "kernels multiply in another dtype"


def knows_exact_types_only(bijection, x, context):
    """A part whose class is another one, though it inherits all of it, is computed by no kernel registered for it."""
    bijection = copy.deepcopy(bijection)
    for kind in known_types(bijection):
        other = type("Other" + kind.__name__, (kind,), {"__module__": __name__})
        parts = [part for part in bijection.modules() if type(part) is kind]
        for part in parts:
            part.__class__ = other
        with watched_kernels() as seen, execution(kernels=True), torch.no_grad():
            for function, start in directions(bijection, x, context).values():
                function(start, context)
        for part in parts:
            part.__class__ = kind
        wrong = {name for name, part in seen if part in parts or set(part.children()) & set(parts)}
        assert not wrong, f"{wrong} compute a subclass of {kind.__name__}"


def known_types(bijection: nn.Module) -> set[type]:
    """The types of its parts for which kernels are registered."""
    return {kind for _, *kinds in dispatch._KERNELS for kind in kinds} & {type(part) for part in bijection.modules()}


PROPERTIES = (
    gives_the_same_values,
    gives_the_same_gradients,
    gives_the_same_second_derivatives,
    gives_the_same_tangents,
    follows_its_weights,
    follows_the_settings,
    knows_exact_types_only,
)
