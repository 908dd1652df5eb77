"""The error of images that cannot be read."""

__all__ = ["ImageError"]


class ImageError(ValueError):
    """Images that cannot be read or written; the message names the file, the problem and a remedy."""
