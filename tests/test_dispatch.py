"""The seam between definitions and kernels: which kernel runs when, for exactly which types."""

import pytest
from torch import nn

from pushforward.core.dispatch import Kernel, accelerated, kernels_for, register, undecorated
from pushforward.core.execution_mode import execution


class Small(nn.Module):
    pass


class Subclass(Small):
    pass


class Part(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @accelerated("inner")
    def double(self, x):
        """Twice x."""
        return ["definition", 2 * x]


@register(Part.double, Part, Small)
class Picky(Kernel):
    def supports(self, part, x):
        return x > 10

    def run(self, part, x):
        return NotImplemented if x > 100 else ["picky", 2 * x]


@register(Part.double, Part, (Small, nn.Identity))
class General(Kernel):
    def supports(self, part, x):
        return x >= 0

    def run(self, part, x):
        return ["general", 2 * x]


def test_the_first_kernel_that_supports_the_arguments_runs():
    part = Part(Small())
    assert part.double(20) == ["definition", 40]  # kernels are off
    with execution(kernels=True):
        assert part.double(20) == ["picky", 40]
        assert part.double(5) == ["general", 10]
        assert part.double(200) == ["general", 400]  # the first one gives up
        assert part.double(-1) == ["definition", -2]
    assert part.double(20) == ["definition", 40]


def test_types_are_exact():
    with execution(kernels=True):
        assert Part(nn.Identity()).double(20)[0] == "general"
        assert Part(Subclass()).double(20)[0] == "definition"
        assert type("Other", (Part,), {})(Small()).double(20)[0] == "definition"
    assert [type(kernel) for kernel in kernels_for(Part.double, Part, Small)] == [Picky, General]
    assert kernels_for(Part.double, Part, Subclass) == []


def test_the_definition_is_within_reach():
    assert undecorated(Part.double)(Part(Small()), 20) == ["definition", 40]
    assert Part.double.__doc__ == "Twice x."


def test_a_kernel_names_one_type_for_each_part():
    with pytest.raises(
        ValueError, match=r"register: Part\.double is keyed by the types of its instance and of 1 submodules; got 1"
    ):
        register(Part.double, Part)
