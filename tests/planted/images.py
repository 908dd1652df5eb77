"""Bugs in models of images: temperatures that reach half of the logits, classes weighted alike, rows that are lost."""

import properties_of_images as properties
import torch
from cases import generator

from pushforward.distributions import DiscreteGrid
from pushforward.estimators import FlowImages, image_answers
from pushforward.estimators.image_answers import ImageAnswers
from pushforward.estimators.image_conditions import Classes
from pushforward.testing.random_parts import randomize

from .registry import bug


def model():
    """A random model of two classes, one of which is rare."""
    images = FlowImages(levels=properties.LEVELS, random_state=0)
    grid = DiscreteGrid((1, *properties.SHAPE), levels=properties.LEVELS, context=2, hidden=[8, 8], above=1, beside=1)
    images.model_ = grid = randomize(grid, seed=3, size=0.8, dtype=torch.float32).eval()
    grid.network.of_context.data.mul_(20)  # classes that look different
    images.shape_, images.layout_ = (1, *properties.SHAPE), "hw"
    images.condition_ = Classes(("rare", "usual"), (0.2, 0.8))
    images._show_classes()
    return (images,)


@bug(properties.sharpens_each_step, model)
def temperature_of_flows_alone(patch, images):
    patch.setattr(image_answers, "with_temperature", lambda model, temperature: model)


@bug(properties.leads_each_step, model)
def guidance_of_twice_the_weight(patch, images):
    sound = image_answers.guided
    patch.setattr(image_answers, "guided", lambda model, c, w, **options: sound(model, c, 2 * w, **options))


@bug(properties.is_the_mixture_of_its_classes, model)
def classes_are_taken_as_equally_frequent(patch, images):
    patch.setattr(Classes, "log_frequencies", property(lambda self: torch.tensor([0.5, 0.5]).double().log()))


@bug(properties.completes_in_proportion, model)
def classes_of_completions_by_frequency_alone(patch, images):
    patch.setattr(ImageAnswers, "_classes_of_top", lambda self, rows: self.condition_.log_frequencies.exp())


@bug(properties.hides_a_part_of_the_labels, model)
def the_same_labels_are_hidden_in_each_epoch(patch, images):
    def passes(self, x, context, seed):
        hidden = torch.rand(len(x), 1, generator=generator(seed)) >= self.label_dropout
        return lambda epoch: (x, context * hidden)

    patch.setattr(FlowImages, "_passes", passes)
