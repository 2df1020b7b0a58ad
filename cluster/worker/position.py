"""Where a stage's training stands in its data, whatever numbers of workers brought it there."""

from __future__ import annotations

from dataclasses import dataclass, replace

from datasets.plan import Leg, batches_per_worker

__all__ = ["Position"]


@dataclass(frozen=True)
class Position:
    """State after `step` steps and `images` images: the epoch's finished legs, then `batches` per current worker."""

    world_size: int
    batch_size: int  # per worker
    samples: int  # of the split
    step: int = 0
    images: int = 0
    epoch: int = 0
    batches: int = 0
    legs: tuple[Leg, ...] = ()

    @property
    def left(self) -> int:
        """Steps to the end of the epoch."""
        return batches_per_worker(self.samples, self.batch_size, self.world_size, self.legs) - self.batches

    @property
    def progress(self) -> float:
        """Epochs, with the part of the one begun."""
        seen = sum(leg.samples for leg in self.legs) + self.batches * self.world_size * self.batch_size
        return self.epoch + seen / self.samples

    def steps(self, epochs: int, max_steps: int | None) -> int:
        """The step at which training to `epochs` or `max_steps` ends, if it goes on with these workers."""
        whole = batches_per_worker(self.samples, self.batch_size, self.world_size)
        end = self.step + self.left + (epochs - self.epoch - 1) * whole if self.epoch < epochs else self.step
        return min(end, max_steps or end)

    def after_step(self) -> Position:
        images = self.images + self.world_size * self.batch_size
        return replace(self, step=self.step + 1, images=images, batches=self.batches + 1)._rolled()

    def with_workers(self, world_size: int, batch_size: int) -> Position:
        """The same place for another number of workers, or of images a worker."""
        if (world_size, batch_size) == (self.world_size, self.batch_size):
            return self
        leg = (Leg(self.world_size, self.batch_size, self.batches),) if self.batches else ()
        shape = {"world_size": world_size, "batch_size": batch_size}
        return replace(self, **shape, batches=0, legs=self.legs + leg)._rolled()

    def _rolled(self) -> Position:
        return self if self.left > 0 else replace(self, epoch=self.epoch + 1, batches=0, legs=())
