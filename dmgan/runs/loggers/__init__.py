"""Loggers by name: what is told of training beside metrics.jsonl. docs/extending.md shows how to add one."""

from dmgan.runs.loggers.logger import Logger, loggers
from dmgan.runs.loggers.mlflow import MLflow
from dmgan.runs.loggers.tensorboard import TensorBoard
from dmgan.runs.loggers.wandb import WeightsAndBiases

__all__ = ["Logger", "MLflow", "TensorBoard", "WeightsAndBiases", "loggers"]

loggers.register("tensorboard", TensorBoard)
loggers.register("mlflow", MLflow)
loggers.register("wandb", WeightsAndBiases)
