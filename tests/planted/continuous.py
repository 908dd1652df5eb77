"""Bugs in continuous flows: their solver, their traces, the check of their error, and flow matching."""

import torch
from cases import generator, randomize

from pushforward.bijections import NeuralODE, continuous, doubling
from pushforward.networks.velocity import VelocityNetwork
from pushforward.testing import bijections
from pushforward.train import FlowMatching

from .parts import of_case, part
from .registry import bug

EQUATION = {"type": "NeuralODE", "features": 2, "hidden": [8, 8], "solver": "rk4", "steps": 8}


# --- properties ------------------------------------------------------------------------------------------------------


def noise_is_fixed_within_a_solve(layer, x):
    """The same probes go along the same path back: estimates of both directions cancel."""
    y, ladj = layer.forward_and_ladj(x, generator=generator(2))
    back = layer.inverse_and_ladj(y.detach(), generator=generator(2))[1]
    torch.testing.assert_close(back, -ladj, rtol=0, atol=1e-4)


def solved_rows_are_exact(layer, x):
    """Rows that are not NaN have an error within the tolerance, against a solve in many steps."""
    with torch.no_grad():
        got = layer.inverse_and_ladj(x)
        layer.steps = layer.max_steps = 128
        expected = layer.inverse_and_ladj(x)
    solved = got[1].isfinite()
    torch.testing.assert_close(got[0][solved], expected[0][solved], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(got[1][solved], expected[1][solved], rtol=1e-2, atol=1e-2)


def velocity_is_the_derivative_of_the_path(loss):
    z, x = torch.randn(2, 3, 2, generator=generator(1), dtype=torch.float64)
    t = torch.tensor([[0.2], [0.5], [0.8]], dtype=torch.float64)
    above, below = (loss._on_path(t + h, z, x, generator(2))[0] for h in (1e-6, -1e-6))
    torch.testing.assert_close(loss._on_path(t, z, x, generator(2))[1], (above - below) / 2e-6, rtol=1e-6, atol=1e-7)


# --- what the bugs are planted in ------------------------------------------------------------------------------------


def estimated():
    layer = randomize(NeuralODE(3, hidden=(8, 8), trace="hutchinson", solver="rk4", steps=8), seed=1)
    return layer, torch.randn(6, 3, generator=generator(1), dtype=torch.float64)


def steep():
    layer = randomize(NeuralODE(2, hidden=(8, 8), solver="rk4", steps=2, max_steps=8), seed=4, size=1.1)
    return layer, torch.randn(40, 2, generator=generator(1), dtype=torch.float64)


# --- bugs ------------------------------------------------------------------------------------------------------------


@bug(noise_is_fixed_within_a_solve, estimated)
def trace_noise_redrawn_inside_a_solve(patch, layer):
    projections, random = VelocityNetwork.projections, generator(7)

    def redrawn(self, probes):
        def both(*arguments):
            signs = torch.randint(0, 2, probes.shape, generator=random).to(probes.dtype) * 2 - 1
            return projections(self, signs)(*arguments)

        return both

    patch.setattr(VelocityNetwork, "projections", redrawn)


@bug(of_case(bijections.ladj_is_slogdet), part(EQUATION))
def closed_trace_with_untransposed_weights(patch, layer):
    def weights(network, features):
        first, middle, last = (each.weight for each in network.layers)
        return middle * (first[:, -features:] @ last)

    patch.setattr("pushforward.networks.velocity.trace_weights", weights)


@bug(of_case(bijections.round_trip), part(EQUATION))
def inverse_with_the_time_running_forwards(patch, layer):
    integrate = continuous.integrate
    patch.setattr(
        continuous,
        "integrate",
        lambda field, state, start, stop, *rest: integrate(
            lambda t, *s: tuple(v if start < stop else -v for v in field(t, *s)), state, 0.0, 1.0, *rest
        ),
    )


@bug(of_case(bijections.inverse_ladj), part(EQUATION))
def trace_not_turned_with_the_time(patch, layer):
    inverse = layer._inverse_and_ladj
    patch.setattr(layer, "_inverse_and_ladj", lambda y, c: (inverse(y, c)[0], -inverse(y, c)[1]))


@bug(solved_rows_are_exact, steep)
def every_row_counts_as_solved(patch, layer):
    compare = doubling._compare
    patch.setattr(doubling, "_compare", lambda *a: (compare(*a)[0], torch.ones_like(compare(*a)[1])))


@bug(velocity_is_the_derivative_of_the_path, lambda: (FlowMatching(path="vp"),))
def velocity_of_a_path_without_its_factor(patch, loss):
    on_path = FlowMatching._on_path

    def scaled(self, *arguments):
        point, velocity = on_path(self, *arguments)
        return point, velocity / (0.5 * torch.pi)

    patch.setattr(FlowMatching, "_on_path", scaled)
