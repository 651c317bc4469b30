"""Flax modules from images to logits, each with a `features` and a `head` part; no loss, no optimiser."""

from medjax.models.cnn import CNN
from medjax.models.summary import LayerSummary, summarize_model

__all__ = ["CNN", "LayerSummary", "summarize_model"]
