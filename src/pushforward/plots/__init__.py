"""Pictures of maps, densities and fits: one call each, which returns a matplotlib ``Figure`` without a window.

``figure.savefig("picture.png")`` writes it; notebooks show it by itself.
"""

from pushforward.evaluate.plots import plot_learning_curves as plot_history
from pushforward.plots.change_of_variables import ChangeOfVariables, change_of_variables, plot_change_of_variables
from pushforward.plots.densities import plot_density, plot_pit, plot_samples
from pushforward.plots.plane import plot_layers, plot_push_forward
from pushforward.plots.triangular import jacobian, plot_conditionals, plot_jacobian

__all__ = [
    "ChangeOfVariables",
    "change_of_variables",
    "jacobian",
    "plot_change_of_variables",
    "plot_conditionals",
    "plot_density",
    "plot_history",
    "plot_jacobian",
    "plot_layers",
    "plot_pit",
    "plot_push_forward",
    "plot_samples",
]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
