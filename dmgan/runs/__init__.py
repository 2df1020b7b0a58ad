"""A run's folder, and what is made with a trained run."""
