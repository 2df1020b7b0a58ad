"""A training worker: the loop, DeepSpeed engines, checkpoints."""
