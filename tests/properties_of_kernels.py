"""Properties of native kernels: a flow with kernels against the same flow without them."""

import torch
from cases import generator

from pushforward.testing.comparison import close

# Vectors hold 8 or 16 numbers of float32 and 4 or 8 of float64: none full, exactly full, and several with a rest.
COUNTS = (1, 7, 16, 37)
TOLERANCE = {torch.float64: 1e-8}


def points(flow, count):
    """Points in every bin and beyond both ends of the box."""
    return 3 * torch.randn(count, *flow.event_shape, dtype=torch.float64, generator=generator(count))


def gives_the_same_densities(fast, plain):
    for count in COUNTS:
        x = points(plain, count)
        with torch.no_grad():
            close(fast.log_prob(x), plain.log_prob(x), f"log_prob of {count} rows", TOLERANCE)
        close(fast.log_prob(x), plain.log_prob(x), f"log_prob of {count} rows with gradients", TOLERANCE)


def gives_the_same_samples(fast, plain):
    for count in COUNTS:
        z = points(plain, count)
        with torch.no_grad():
            close(fast.to_data(z), plain.to_data(z), f"{count} samples", TOLERANCE)


def gives_the_same_gradients(fast, plain):
    """Of every parameter and of x."""
    for count in COUNTS:
        x = points(plain, count)
        gradients = []
        for flow in (fast, plain):
            leaf = x.clone().requires_grad_()
            gradients.append(torch.autograd.grad(flow.log_prob(leaf).sum(), [leaf, *flow.parameters()]))
        names = ["x", *(name for name, _ in plain.named_parameters())]
        for name, a, b in zip(names, *gradients, strict=True):
            close(a, b, f"gradient of {name} from {count} rows", TOLERANCE)
