"""Layers: BatchNormalization with its arithmetic, noise that suits it, and the shortcut of residual blocks."""

from kerasbn.layers.batch_normalization import BatchNormalization
from kerasbn.layers.fused import Kernel
from kerasbn.layers.identity_shortcut import IdentityShortcut
from kerasbn.layers.replacement import replace_batch_normalization
from kerasbn.layers.uniform_dropout import UniformDropout

__all__ = ["BatchNormalization", "IdentityShortcut", "Kernel", "UniformDropout", "replace_batch_normalization"]
