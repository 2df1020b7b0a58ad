"""Readers of captioned images as people have them, by format; one file each. docs/extending.md shows how to add one."""

from datasets.sources import birds, coco, cub, drawn, flickr, folder, imagefolder, karpathy, pairs, parquet, webdataset

__all__ = [
    "birds",
    "coco",
    "cub",
    "drawn",
    "flickr",
    "folder",
    "imagefolder",
    "karpathy",
    "pairs",
    "parquet",
    "webdataset",
]
