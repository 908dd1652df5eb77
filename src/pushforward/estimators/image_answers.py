"""What a fitted model of images answers: scores, classes by Bayes' rule, samples, completions and interpolations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import at_least, not_negative, positive
from pushforward.data.pixel_arrays import Layout, from_pixels, to_pixels
from pushforward.distributions import DiscreteGrid, guided, log_prob_of_each, with_temperature
from pushforward.estimators.image_conditions import Classes, Condition
from pushforward.estimators.parameters import seed_of
from pushforward.train.progress import advancing

__all__ = ["ClassScores", "ImageAnswers"]

NUMBERS = 2**17
"""Pixels that are scored or drawn at once."""
NEXT_DRAW = 10**9
"""Between the seeds of two draws of the noise of an image."""


class ClassScores(NamedTuple):
    """Scores of images, and the probabilities of their classes.

    Attributes:
        total: the log-probability of each image, as `FlowImages.score_samples` has it, (n,).
        probabilities: of each class given the image, (n, classes); None where no classes were learned.
        by_class: log-probability of each image given each class, (n, classes), or None.
    """

    total: NDArray[np.float64]
    probabilities: NDArray[np.float64] | None = None
    by_class: NDArray[np.float64] | None = None


class ImageAnswers:
    """The answers of `FlowImages`, which has the model and its training."""

    model: str
    levels: int
    label_dropout: float
    random_state: Any
    device: str | None
    verbose: bool
    model_: Any
    shape_: tuple[int, int, int]
    layout_: Layout
    condition_: Condition
    classes_: NDArray[Any]

    def _pixels(self, images: Any, y: Any = None) -> tuple[Tensor, Any]:
        raise NotImplementedError

    # --- scores

    def score_samples(self, images: Any, y: Any = None) -> NDArray[np.float64]:
        """Log-probability of each image in nats, (n,): given its label or attributes, where there are any.

        Without ``y`` it is that of the mixture over the classes by their frequencies, or of a model that was not told
        the attributes. Labels that `Images` or a path have count as ``y`` only in `fit`. For flows numbers are lower
        bounds (`exactness`), each an estimate with one draw of noise, the same in each call.

        Args:
            images: as in `fit`.
            y: one label, vector of attributes or image, as they were fitted, or one for each image.
        """
        if y is None and isinstance(self.condition_, Classes):
            return self.score_by_class(images).total
        x, _ = self._pixels(images)
        return self._scores(x, self._context(y, len(x), "score_samples"))[0].numpy()

    def bits_per_dim(self, images: Any, y: Any = None) -> NDArray[np.float64]:
        """Bits for each number of an image, (n,): the length of its code, or a bound on it, divided by its numbers."""
        return -self.score_samples(images, y) / (math.log(2) * math.prod(self.shape_))

    def score(self, images: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(images, y).mean())

    def predict_proba(self, images: Any, *, draws: int = 1) -> NDArray[np.float64]:
        r"""The probability of each class given the image, (n, classes), by Bayes' rule.

        .. math:: p(c \mid x) = \frac{\pi_c\, p(x \mid c)}{\sum_k \pi_k\, p(x \mid k)}

        with the frequencies :math:`\pi_c` of the classes in training. It costs a score for each class.

        Args:
            images: as in `fit`.
            draws: of the noise that dequantizes, for flows: probabilities are means over them. More are better by some
                per cent of the images, and cost as many evaluations.
        """
        at_least("FlowImages", "draws", draws, 1)
        classes, (x, _) = self._classes("predict_proba"), self._pixels(images)
        count = draws if self.model_.stochastic else 1
        each = [(self._by_class(x, classes, k) + classes.log_frequencies).softmax(dim=1) for k in range(count)]
        probabilities: NDArray[np.float64] = torch.stack(each).mean(dim=0).numpy()
        return probabilities

    def predict(self, images: Any) -> NDArray[Any]:
        """The most probable class of each image, (n,)."""
        probabilities = self.predict_proba(images)
        return self.classes_[probabilities.argmax(axis=1)]

    def _classes(self, question: str) -> Classes:
        if not isinstance(self.condition_, Classes):
            raise ValueError(
                f"FlowImages.{question}: this model was fitted without labels and knows no classes. Fit it with y."
            )
        return self.condition_

    def _context(self, y: Any, count: int, question: str) -> Tensor | None:
        """The contexts of so many images; those of conditions that are not told were learned by hiding some."""
        if y is None and self.condition_.size and not self.label_dropout:
            raise ValueError(
                f"FlowImages.{question}: the model is conditional, and y is missing. Give y, or fit with label_dropout "
                "above 0."
            )
        return self.condition_.encode(y, count)

    def _pieces(self, count: int, doing: str = "") -> Iterable[slice]:
        """Parts of so many images; with ``verbose`` several of them move a progress bar that says what is ``doing``."""
        size = max(1, NUMBERS // math.prod(self.shape_))
        pieces = [slice(start, min(count, start + size)) for start in range(0, count, size)]
        return advancing(pieces, doing) if self.verbose and doing and len(pieces) > 1 else pieces

    @torch.no_grad()
    def _scores(self, x: Tensor, *contexts: Tensor | None, draw: int = 0) -> Tensor:
        """log p(x | c) of each image in float64, (contexts, n), for contexts (n, size) each, or one None."""
        parts, seed = [], 0 if self.random_state is None else seed_of(self.random_state)
        for piece in self._pieces(len(x), "score"):
            rows = x[piece].to(self.device, self.model_.dtype)
            noise = torch.Generator(device=self.device or "cpu").manual_seed(seed + piece.start + NEXT_DRAW * draw)
            told = [context[piece].to(self.device) for context in contexts if context is not None]
            if told:
                scores = log_prob_of_each(self.model_, rows, torch.stack(told), generator=noise)
            else:
                scores = self.model_.log_prob(rows, generator=noise)[None]
            parts.append(scores.double().cpu())
        return torch.cat(parts, dim=1)

    def score_by_class(self, images: Any) -> ClassScores:
        """`score_samples` and `predict_proba` together, which costs as much as one of them."""
        x, _ = self._pixels(images)
        classes = self.condition_
        if not isinstance(classes, Classes):
            return ClassScores(self._scores(x, self._context(None, len(x), "score_by_class"))[0].numpy())
        scores = self._by_class(x, classes)
        joint = scores + classes.log_frequencies
        return ClassScores(joint.logsumexp(dim=1).numpy(), joint.softmax(dim=1).numpy(), scores.numpy())

    def _by_class(self, x: Tensor, classes: Classes, draw: int = 0) -> Tensor:
        """log p(x | c) of each image and class, (n, classes)."""
        return self._scores(x, *(c.expand(len(x), -1) for c in classes.each()), draw=draw).t()

    # --- draws

    def sample(
        self, n: int = 1, y: Any = None, *, guidance: float = 0.0, temperature: float = 1.0, random_state: Any = None
    ) -> NDArray[np.uint8]:
        """New images, whole numbers in the order of axes of `fit`.

        Args:
            n: how many.
            y: one label, vector of attributes or image for all, or one for each; by default labels are drawn by their
                frequencies, and attributes and images are not told.
            guidance: above zero for images that are more typical of their label, and less varied
                (`distributions.guided`): for ``"pixels"`` and flows of affine layers, ``"tarflow"`` and ``"glow"``.
            temperature: below one for more usual and less varied images (`distributions.with_temperature`): each
                conditional probability of ``"pixels"`` is raised to its inverse, latents of flows are multiplied by it.
            random_state: seed or generator of numpy; by default that of the estimator.
        """
        return self._shown(self._drawn(n, y, self._led(guidance, temperature), random_state))

    def complete(
        self,
        top_rows: Any,
        n: int = 1,
        y: Any = None,
        *,
        guidance: float = 0.0,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> NDArray[np.uint8]:
        """Draws of images whose first rows are those of one image, kept bit for bit: exact for ``"pixels"``.

        The rest comes from its exact distribution given these rows (`DiscreteGrid.given`). Without ``y`` the class is
        drawn from its exact probabilities given the rows.

        Args:
            top_rows: the first rows of one image, whole numbers with the axes that images have in `fit`.
            n: how many.
            y: one label, vector of attributes or image, or one for each completion.
            guidance: as in `sample`.
            temperature: as in `sample`.
            random_state: seed or generator of numpy; by default that of the estimator.
        """
        check_is_fitted(self)
        if not isinstance(self.model_, DiscreteGrid):
            raise ValueError(
                f"FlowImages.complete: {self.model} has no exact distribution of the other rows given the first. "
                "model='pixels' has."
            )
        at_least("FlowImages", "n", n, 1)
        rows = torch.tensor(self._top(top_rows))
        generator = self._generator(random_state)
        if y is None and isinstance(self.condition_, Classes):
            probabilities = self._classes_of_top(rows)
            places = torch.multinomial(probabilities, n, replacement=True, generator=self._generator(random_state))
            context: Tensor | None = self.condition_.each()[places.cpu()]
        else:
            context = self._context(y, n, "complete")
        grid = self._led(guidance, temperature)
        top, parts = rows.to(self.device, grid.dtype), []
        for piece in self._pieces(n, "draw"):
            given_c = None if context is None else context[piece].to(self.device)
            size = (piece.stop - piece.start,) if given_c is None else ()
            drawn = grid.given(top).sample(size, given_c, generator=generator)
            parts.append(torch.cat([top.expand(len(drawn), *top.shape), drawn], dim=2))
        return self._shown(torch.cat(parts))

    def _top(self, top_rows: Any) -> NDArray[np.uint8]:
        """The first rows (channels, rows, width) of one image."""
        channels, height, width = self.shape_
        rows = np.asarray(top_rows)
        if self.layout_ == "hwc" and rows.ndim == 3:
            rows = np.moveaxis(rows, 2, 0)
        top = to_pixels("FlowImages: top_rows", rows[None])[0][0]
        if (top.shape[0], top.shape[2]) != (channels, width) or top.shape[1] >= height:
            raise ValueError(
                f"FlowImages: top_rows must be the first 1 to {height - 1} rows of one image with {channels} "
                f"channel{'s' * (channels > 1)} and {width} pixels a row; got shape {np.shape(top_rows)}."
            )
        if (highest := int(top.max())) >= self.levels:
            raise ValueError(f"FlowImages: levels={self.levels}, and top_rows holds {highest}.")
        return top

    @torch.no_grad()
    def _classes_of_top(self, rows: Tensor) -> Tensor:
        """The probability of each class given the first rows."""
        classes, (channels, height, width) = self._classes("complete"), self.shape_
        top = rows.to(self.device, self.model_.dtype)
        rest = top.new_zeros(channels, height - rows.shape[1], width)
        contexts = classes.each().to(self.device)
        whole = self.model_.log_prob(torch.cat([top, rest], dim=1), contexts)
        after = self.model_.given(top).log_prob(rest, contexts)  # what is left is the log-probability of the rows
        return ((whole - after).double() + classes.log_frequencies.to(whole.device)).softmax(dim=-1)

    @torch.no_grad()
    def _drawn(self, n: int, y: Any, model: Any, random_state: Any) -> Tensor:
        """Images (n, channels, height, width) of the model as it is led."""
        check_is_fitted(self)
        at_least("FlowImages", "n", n, 1)
        generator = self._generator(random_state)
        if y is None and isinstance(self.condition_, Classes):
            frequencies = self.condition_.log_frequencies.exp().to(generator.device)
            places = torch.multinomial(frequencies, n, replacement=True, generator=generator)
            context: Tensor | None = self.condition_.each()[places.cpu()]
        else:
            context = self._context(y, n, "sample")
        parts = []
        for piece in self._pieces(n, "draw"):
            given_c = None if context is None else context[piece].to(self.device)
            size = (piece.stop - piece.start,) if given_c is None else ()
            parts.append(model.sample(size, given_c, generator=generator))
        return torch.cat(parts)

    def _led(self, guidance: float, temperature: float) -> Any:
        """The model led towards labels, and at a temperature."""
        owner = "FlowImages"
        check_is_fitted(self)
        not_negative(owner, "guidance", guidance)
        positive(owner, "temperature", temperature)
        if guidance and not self.condition_.size:
            raise ValueError(f"{owner}: guidance leads towards a label, and the model has none. Fit it with y.")
        if guidance and not self.label_dropout:
            raise ValueError(
                f"{owner}: guidance needs what the model is without labels. Fit with label_dropout above 0."
            )
        if guidance:
            return guided(self.model_, None, guidance, temperature=temperature)
        return with_temperature(self.model_, temperature)

    def _shown(self, images: Tensor) -> NDArray[np.uint8]:
        """Images of the model as the user has them."""
        pixels = images.detach().cpu()
        if broken := int(pixels.isnan().flatten(1).any(dim=1).sum()):
            warnings.warn(
                f"FlowImages: {broken} of {len(pixels)} images hold NaN, where the flow has no inverse; these pixels "
                "are zero.",
                stacklevel=3,
            )
        whole = pixels.nan_to_num(0.0).round().clamp(0, self.levels - 1).to(torch.uint8)
        return np.ascontiguousarray(from_pixels(whole.numpy(), self.layout_))

    def _generator(self, random_state: Any) -> torch.Generator:
        source = self.random_state if random_state is None else random_state
        return torch.Generator(device=self.device or "cpu").manual_seed(seed_of(source))
