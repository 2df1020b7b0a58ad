"""Scores: the protocol, what it is computed on, and the metrics."""
