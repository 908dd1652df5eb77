"""Properties of parts as modules: configs, copies, devices, dtypes and names."""

from __future__ import annotations

import copy
import json
import pickle

import torch
from torch import Tensor, nn

from pushforward.bijections import Standardize, Whitening
from pushforward.core.config import build
from pushforward.core.torch_internals import buffers_of, parameters_of, submodules_of
from pushforward.testing.bijections import require
from pushforward.testing.case import Case, seeded
from pushforward.testing.comparison import close, same

__all__ = [
    "float32_is_close",
    "moves_whole",
    "overrides_no_module_name",
    "statistics_stay_wide",
    "survives_config",
    "survives_copies",
]


def survives_config(case: Case) -> None:
    """config → JSON → build → load_state_dict gives the same numbers bit for bit."""
    bijection = case.bijection
    if not hasattr(bijection, "config"):
        raise AssertionError(f"{type(bijection).__name__} records no config; put @configurable above the class")
    twin = build(json.loads(json.dumps(bijection.config)))
    require(twin.config == bijection.config, f"the rebuilt part has the config {twin.config}, not {bijection.config}")
    twin = twin.to(bijection.dtype or case.x.dtype).eval()
    keys = twin.load_state_dict(bijection.state_dict(), strict=False)
    require(not keys.missing_keys + keys.unexpected_keys, f"the state dict differs in {keys}")
    same(seeded(twin.forward_and_ladj)(case.x, case.context), case.forward, "rebuilt from its config")


def survives_copies(case: Case) -> None:
    """deepcopy and pickle give the same numbers and share no memory with the original."""
    bijection, x, context = case.bijection, case.x, case.context
    for twin in (copy.deepcopy(bijection), pickle.loads(pickle.dumps(bijection))):
        same(seeded(twin.forward_and_ladj)(x, context), case.forward, "a copy")
        with torch.no_grad():
            for tensor in twin.state_dict().values():
                tensor.zero_()
    same(seeded(bijection.forward_and_ladj)(x, context), case.forward, "the original after its copy changed")


def moves_whole(module: nn.Module) -> None:
    """``.to(device)`` moves every tensor: none hides in a plain attribute."""
    moved = copy.deepcopy(module).to("meta")
    tensors = [*moved.named_parameters(), *moved.named_buffers()]
    left = [name for name, tensor in tensors if tensor.device.type != "meta"]
    hidden = [
        f"{type(part).__name__}.{name}"
        for part in moved.modules()
        for name, value in vars(part).items()
        if any(isinstance(v, Tensor) for v in (value if isinstance(value, list | tuple) else [value]))
    ]
    require(not left + hidden, f"not moved by .to(device): {left + hidden}; register them as buffers")


def float32_is_close(case: Case) -> None:
    """``.to(float32)`` gives numbers close to those of float64; ``.to(float64)`` brings the dtype back."""
    bijection, context = case.bijection, case.context
    narrow = copy.deepcopy(bijection).to(torch.float32)
    narrow_context = None if context is None else context.float()
    dtypes = narrow.in_dtype, narrow.out_dtype
    for (name, _, _, start, expected, draws, *_), dtype in zip(case.directions, dtypes, strict=True):
        if draws:  # other numbers in another dtype
            continue
        actual = seeded(getattr(narrow, f"{name}_and_ladj"))(start.to(dtype or torch.float32), narrow_context)
        for a, b in zip(actual, expected, strict=True):
            close(a.float(), b, f"float32 against float64, {name}", through=bijection)
    back = narrow.to(torch.float64).dtype
    require(back == bijection.dtype, f".to(float32).to(float64) leaves the dtype {back}")


WIDE: dict[type, tuple[str, ...]] = {
    Standardize: ("mean", "scale"),
    Whitening: ("mean", "matrix", "inverse_matrix", "log_abs_det"),
}
"""Statistics kept in float64 whatever the model's dtype."""


def statistics_stay_wide(module: nn.Module) -> None:
    """Statistics kept in float64 are not narrowed by a conversion of the model."""
    wide = {name for name, t in copy.deepcopy(module).to(torch.float32).named_buffers() if t.dtype == torch.float64}
    kept = {f"{n}.{b}".lstrip(".") for n, m in module.named_modules() for b in WIDE.get(type(m), ())}
    require(wide >= kept, f"narrowed by .to(float32): {sorted(kept - wide)}")
    before = {name: t.clone() for name, t in module.named_buffers() if name in kept}
    after = dict(copy.deepcopy(module).to(torch.float16).to(torch.float64).named_buffers())
    lost = [name for name, t in before.items() if not torch.equal(after[name], t)]
    require(not lost, f"digits lost by .to(float16).to(float64) in {lost}")


# forward is how a module is called; extra_repr is torch's own hook for printing; _apply is overridden by classes that
# move float64 tensors without narrowing them.
OVERRIDES = {"forward", "extra_repr", "_apply"}


def overrides_no_module_name(module: nn.Module) -> None:
    """No method, attribute, parameter, buffer or child of a class outside torch hides a name of ``nn.Module``."""
    taken = {name for name in dir(nn.Module) if not name.startswith("__")} - OVERRIDES
    usual = set(vars(nn.Module()))
    clashes = set()
    for part in module.modules():
        if type(part).__module__.startswith("torch."):
            continue
        classes = [cls for cls in type(part).__mro__ if not cls.__module__.startswith("torch.") and cls is not object]
        names = {name for cls in classes for name in vars(cls)} | set(vars(part)) - usual
        names |= {*parameters_of(part), *buffers_of(part), *submodules_of(part)}
        clashes |= {f"{type(part).__name__}.{name}" for name in names & taken}
    require(not clashes, f"hides a name of nn.Module: {sorted(clashes)}")
