"""Drawn worlds with known contents: `birds-2`, richer birds, and `scenes`, several shapes in relations."""

from datasets.sources.drawn import birds2, scenes

__all__ = ["birds2", "scenes"]
