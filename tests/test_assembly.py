"""Named flows are assembled rightly: order and direction of their parts, context for every layer, mixing."""

import properties_of_flows as properties
import pytest
from cases import PLAIN_FLOWS, flow_factors, label, random_part

from pushforward.flows import FLOWS

ONE_MAP = ("gaussian_autoregressive", "graphical", "triangular_map")  # of a single triangular map
HEAVY = [
    {"flow": name, "features": 4, "context": 0, "tails": "heavy"} for name in FLOWS if "tails" in flow_factors(name)
]


@pytest.mark.parametrize("config", PLAIN_FLOWS, ids=label)
def test_parts_stand_in_order_and_read_the_context(config):
    flow = random_part(config)
    properties.meets_data_in_order(flow)
    properties.every_layer_reads_the_context(flow)
    if config["flow"] not in ONE_MAP:
        properties.latent_depends_on_every_feature(flow)


@pytest.mark.parametrize("fast", ["density", "sampling"])
@pytest.mark.parametrize("name", [name for name in FLOWS if "fast" in flow_factors(name)])
def test_the_fast_direction_is_the_one_asked_for(name, fast):
    properties.fast_in_the_stated_direction(
        random_part({"flow": name, "features": 4, "context": 0, "fast": fast}), fast
    )


@pytest.mark.parametrize("config", HEAVY, ids=label)
def test_heavy_tails_stand_beside_the_data_and_are_powers(config):
    flow = random_part(config)
    properties.meets_data_in_order(flow)
    properties.tails_are_powers(flow)


def test_permutations_differ():
    config = {"flow": "nsf", "features": 5, "context": 0, "mix": "permute", "depth": 4}
    properties.parts_between_layers_differ(random_part(config))
