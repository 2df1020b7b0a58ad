"""The driver: the stages of a job, the Ray cluster it runs on, signals."""
