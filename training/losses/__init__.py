"""Losses, pure functions: of the bundled checkpoint's recipe (`bundled`), of the open-vocabulary protocol
(`open_vocabulary`), and of the single-positive one (`single_positive`, its `options`, `pseudo_labels`)."""

from sigrl.training.losses.bundled import (
    caption_loss,
    cosine_distance,
    label_loss,
    soft_targets,
    standardize,
)

__all__ = ["caption_loss", "cosine_distance", "label_loss", "soft_targets", "standardize"]
