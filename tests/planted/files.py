"""Bugs in model files: hashes that nobody compares, dtypes, options and tensors that get lost or mixed up."""

import copy

import properties_of_files as properties
import torch
from cases import bijection_of

import pushforward as pf
from pushforward.core.config import build
from pushforward.io import header, model

from .registry import bug

COUPLING = {
    "type": "Coupling",
    "univariate": {"type": "RationalQuadratic", "bins": 4},
    "features": 4,
    "hidden": [8, 8],
    "swap": True,
}


def saved():
    return (pf.save, pf.load), bijection_of(COUPLING)


def saving(change):
    """A `save` that writes a model after a change."""

    def save(part, path):
        part = copy.deepcopy(part)
        pf.save(change(part) or part, path)

    return save, pf.load


@bug(properties.refuses_altered_weights, saved)
def hash_of_the_weights_not_compared(patch, files):
    patch.setattr(model, "hash_tensors", lambda tensors: "0")


@bug(properties.refuses_altered_headers, saved)
def hash_of_the_header_not_compared(patch, files):
    patch.setattr(header, "_hash_document", lambda document: "0")


@bug(properties.gives_back_the_model, saved)
def double_precision_lost_on_the_way(patch, files):
    def narrow(part):
        for tensor in part.parameters():
            tensor.data = tensor.data.float().double()

    return saving(narrow)


@bug(properties.gives_back_the_model, saved)
def dtype_lost(patch, files):
    return saving(lambda part: part.float())


@bug(properties.gives_back_the_model, saved)
def option_dropped_from_the_config(patch, files):
    def without_swap(part):
        twin = build({k: v for k, v in part.config.items() if k != "swap"}).to(torch.float64)
        twin.load_state_dict(part.state_dict())
        return twin

    return saving(without_swap)


@bug(properties.gives_back_the_model, saved)
def two_tensors_of_one_shape_swapped(patch, files):
    def swap(part):
        names = [name for name, tensor in part.named_parameters() if tensor.shape == (8,)]
        a, b = (part.get_parameter(name) for name in names[:2])
        a.data, b.data = b.data.clone(), a.data.clone()

    return saving(swap)
