"""Layers: BatchNormalization with its arithmetic, and the shortcut of residual blocks."""

from kerasbn.layers.batch_normalization import BatchNormalization
from kerasbn.layers.identity_shortcut import IdentityShortcut

__all__ = ["BatchNormalization", "IdentityShortcut"]
