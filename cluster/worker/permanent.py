"""Which errors starting the workers again cannot mend."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import torch
import torch.distributed

from datasets.storage import StorageError

__all__ = ["may_pass", "stays"]

_CONNECTIONS = ("gloo", "NCCL", "Connection", "Broken pipe")  # what torch raises RuntimeError of
_STAY = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def stays(error: BaseException) -> bool:
    """Whether the error, or one that it comes from, will be there again: no space, no permission, too little memory."""
    return any(
        isinstance(cause, PermissionError | torch.OutOfMemoryError)
        or (isinstance(cause, OSError) and cause.errno in _STAY)
        for cause in _causes(error)
    )


def may_pass(error: BaseException) -> bool:
    """Whether the error comes from something outside, such as a bucket or another worker that is away for a while."""
    return any(
        isinstance(cause, StorageError | ConnectionError | TimeoutError | torch.distributed.DistError)
        or any(word in str(cause) for word in _CONNECTIONS)
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
