"""Models: batch-normalised classifiers by name, one file a family."""

from kerasbn.models.factory import create_model, from_config, list_models

__all__ = ["create_model", "from_config", "list_models"]
