"""Losses as pure functions: of the bundled checkpoint's recipe (`bundled`), the open-vocabulary protocol
(`open_vocabulary`), and the single-positive protocol (`single_positive`, `options`, `pseudo_labels`)."""

from sigrl.training.losses.bundled import (
    caption_loss,
    cosine_distance,
    label_loss,
    soft_targets,
    standardize,
)

__all__ = ["caption_loss", "cosine_distance", "label_loss", "soft_targets", "standardize"]
