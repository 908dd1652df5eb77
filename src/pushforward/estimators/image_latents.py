"""What a flow of images answers in its latent space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pushforward.core.checks import at_least
from pushforward.distributions import Flow
from pushforward.estimators.image_answers import ImageAnswers
from pushforward.estimators.image_conditions import Attributes, Classes, Pictures, learn_condition

__all__ = ["ImageLatents"]


class ImageLatents(ImageAnswers):
    """Ways between images, and means of them, through the latent space of a flow."""

    def interpolate(self, a: Any, b: Any, n: int = 8, y: Any = None, *, random_state: Any = None) -> NDArray[np.uint8]:
        r"""``n`` images from ``a`` to ``b`` along an arc between their latents, both ends as they are, for flows.

        .. math:: z(t) = \frac{\sin((1 - t)\,\omega)\, z_a + \sin(t\,\omega)\, z_b}{\sin \omega}

        where :math:`\omega` is the angle between the latents: the lengths of latents on the way are like those of
        samples, which on a straight line they are not.

        Args:
            a: one image, with the axes that images have in `fit`.
            b: another one.
            n: how many, both ends included.
            y: one label or vector of attributes of both; not told by default.
            random_state: of the noise that dequantizes; by default that of the estimator.
        """
        flow = self._flow("interpolate")
        at_least("FlowImages", "n", n, 2)
        ends, _ = self._pixels(np.stack([np.asarray(a), np.asarray(b)]))
        context = self._context(y, n, "interpolate")
        context = None if context is None else context.to(self.device)
        with torch.no_grad():
            x = ends.to(self.device, flow.dtype)
            noise = self._generator(random_state)
            z = flow.to_latent(x, None if context is None else context[:2], generator=noise)
            images = flow.to_data(_arc(z[0], z[1], n), context)
        images[0], images[-1] = x[0], x[1]
        return self._shown(images)

    @torch.no_grad()
    def mean_latents(self, images: Any, y: Any = None, *, random_state: Any = None) -> dict[Any, NDArray[np.uint8]]:
        """The image at the mean of the latents of the images of each class, for flows.

        A mean of pixels is a blur; this is what the flow makes of a latent in the middle of those of a class. A flow
        that knows the classes maps the images of each there and back given the class.

        Args:
            images: as in `fit`.
            y: the label of each; by default those that `Images` or a path have.
            random_state: of the noise that dequantizes; by default that of the estimator.

        Returns:
            an image for each class that occurs, by its name, in their order; without labels one of all, named None.
        """
        flow = self._flow("mean_latents")
        x, y = self._pixels(images, y)
        learned = isinstance(self.condition_, Classes)
        classes = self.condition_ if learned else learn_condition(y, len(x))
        if isinstance(classes, Attributes | Pictures):
            what = "attributes" if isinstance(classes, Attributes) else "images"
            raise ValueError(f"FlowImages.mean_latents: needs labels of classes, and these are {what}. Give y.")
        numbers = classes.decode(classes.encode(y, len(x))) if y is not None else np.zeros(len(x), dtype=np.int64)
        context = self._context(y if learned else None, len(x), "mean_latents")
        noise, latents = self._generator(random_state), []
        for piece in self._pieces(len(x), "encode"):
            at = None if context is None else context[piece].to(self.device)
            latents.append(flow.to_latent(x[piece].to(self.device, flow.dtype), at, generator=noise))
        z, occurring = torch.cat(latents), np.unique(numbers)
        means = torch.stack([z[np.flatnonzero(numbers == k)].mean(dim=0) for k in occurring])
        first = [int(np.flatnonzero(numbers == k)[0]) for k in occurring]
        drawn = self._shown(flow.to_data(means, None if context is None else context[first].to(self.device)))
        names = [classes.names[k] for k in occurring] if isinstance(classes, Classes) else [None]
        return dict(zip(names, drawn, strict=True))

    def _flow(self, question: str) -> Flow:
        check_is_fitted(self)
        if not isinstance(self.model_, Flow):
            raise ValueError(
                f"FlowImages.{question}: {self.model} has no latent space. The flows have: fit "
                "model='glow', 'tarflow' or 'window_flow'."
            )
        return self.model_


def _arc(a: Tensor, b: Tensor, n: int) -> Tensor:
    """Points on the arc from a to b; on the straight line where they are parallel."""
    cosine = (a * b).sum() / (a.norm() * b.norm())
    angle = cosine.clamp(-1, 1).acos().double()
    t = torch.linspace(0, 1, n, dtype=torch.float64, device=a.device)
    first, second = ((1 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()
    straight = angle.sin() < 1e-6
    first, second = torch.where(straight, 1 - t, first), torch.where(straight, t, second)
    size = (n, *[1] * a.ndim)
    return first.to(a.dtype).reshape(size) * a + second.to(a.dtype).reshape(size) * b
