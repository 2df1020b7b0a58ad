"""The evaluation on many workers."""
