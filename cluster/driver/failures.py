"""What Ray reports of failed workers, as the one line that people read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datasets.errors import UserError

__all__ = ["WorkerError", "workers_as_one_line"]


class WorkerError(UserError):
    """Workers failed in a way that nobody foresaw; one line, their last."""

    exit_code = 1


@contextmanager
def workers_as_one_line(what: str) -> Iterator[None]:
    """Turn Ray's report of a failure into the UserError that a worker raised, or else into a WorkerError of `what`."""
    from ray.exceptions import RayError
    from ray.train import TrainingFailedError

    try:
        yield
    except TrainingFailedError as error:
        causes = list(getattr(error, "worker_failures", {}).values())
        raise WorkerError(f"{what} failed: {_last_line(causes[0] if causes else error)}") from error
    except RayError as error:
        # What a worker raised comes as Ray's error of that kind, whose text is a traceback.
        cause = getattr(error, "cause", None)
        if isinstance(cause, UserError):
            raise cause from None
        raise WorkerError(f"{what} failed: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
