"""Bugs as native kernels have them, planted in what a flow with kernels answers: rests of vectors, bins, gradients."""

import copy

import properties_of_kernels as properties
import torch
from cases import random_part

from .registry import bug

LANES = 8


def with_and_without_kernels():
    plain = random_part({"flow": "nsf", "features": 3, "context": 0, "layer": "coupling", "depth": 1}, size=0.4)
    fast = copy.deepcopy(plain)
    fast.use_kernels()
    return fast, plain


def autoregressive():
    plain = random_part({"flow": "maf", "features": 3, "context": 0, "depth": 1}, size=0.4)
    fast = copy.deepcopy(plain)
    fast.use_kernels()
    return fast, plain


def spoil(patch, fast, change):
    """Change (z, ladj) of densities as a function of the points."""
    inverse = fast.bijection._inverse_and_ladj
    patch.setattr(fast.bijection, "_inverse_and_ladj", lambda y, c: change(y, *inverse(y, c)))


@bug(properties.gives_the_same_densities, with_and_without_kernels, needs_compiler=True)
def rest_of_the_last_vector_left_out(patch, fast):
    def change(y, z, ladj):
        full = len(y) // LANES * LANES
        return z, torch.cat([ladj[:full], torch.zeros_like(ladj[full:])])

    spoil(patch, fast, change)


@bug(properties.gives_the_same_densities, with_and_without_kernels, needs_compiler=True)
def last_lane_taken_from_its_neighbour(patch, fast):
    def change(y, z, ladj):
        lane = torch.arange(len(y))
        return z, ladj[torch.where(lane % LANES == LANES - 1, lane - 1, lane)]

    spoil(patch, fast, change)


@bug(properties.gives_the_same_densities, with_and_without_kernels, needs_compiler=True)
def wrong_bin_at_one_end_of_the_box(patch, fast):
    """Points in the last bin are treated as in the tail."""

    def change(y, z, ladj):
        return z, torch.where((y > 4).any(-1), 0.0, ladj)

    spoil(patch, fast, change)


@bug(properties.gives_the_same_gradients, with_and_without_kernels, needs_compiler=True)
def gradient_of_a_parameter_counted_twice(patch, fast):
    next(p for p in fast.parameters() if p.ndim == 1).register_hook(lambda gradient: 2 * gradient)


@bug(properties.gives_the_same_gradients, autoregressive, needs_compiler=True)
def gradient_of_free_parameters_left_out(patch, fast):
    free = next(p for name, p in fast.named_parameters() if name.endswith("free"))
    free.register_hook(torch.zeros_like)


@bug(properties.gives_the_same_samples, autoregressive, needs_compiler=True)
def sample_of_the_last_feature_stops_early(patch, fast):
    forward = fast.bijection._forward
    patch.setattr(fast.bijection, "_forward", lambda z, c: torch.cat([forward(z, c)[..., :-1], z[..., -1:]], dim=-1))
