"""Many processes: Ray Train workers, DeepSpeed engines, checkpoints, and the distributed evaluation."""
