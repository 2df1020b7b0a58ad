"""From one picture to another: between two captions, or two noises of one.

The noise moves on the sphere between its ends. Normal numbers in many dimensions nearly all have the length √Z, and the
generator has seen no others; on the straight line the middle has √(Z/2), and its pictures are duller (White, "Sampling
generative networks", 2016). The sentence has no such length and moves on the straight line. Words of two captions at
the same place have nothing to do with each other, so they are not mixed one by one. The memory holds the words of both,
and each caption's have a share in the softmax of key addressing (Eq. 4) that goes linearly from one to nothing: the
first and the last frame are exactly the pictures of the captions.

Shapes: B frames, T tokens, N_w word features, Z noise, C condition.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from dmgan.drawing.request import Request, check_whole, random_numbers
from dmgan.drawing.text_to_image import Encoded, TextToImage
from dmgan.pixels import to_array

__all__ = ["frames_between", "mixed", "spherical"]


def frames_between(
    model: TextToImage, first: Request, last: Request, frames: int = 60, batch_size: int = 16
) -> Iterator[Image.Image]:
    """`frames` pictures of the last stage, from that of `first` to that of `last`, drawn a batch at a time.

    Raises DrawingError, and UnknownWordsError for a caption without a known word.
    """
    check_whole("frames", frames, 2)
    check_whole("batch_size", batch_size, 1)
    noise, eps = random_numbers([first, last], model.generator.noise_dim, model.generator.condition_dim)
    ends = model.encode([first.caption, last.caption])
    for numbers in torch.linspace(0, 1, frames).split(batch_size):
        share = numbers[:, None]
        moved = (spherical(of_ends[0], of_ends[1], share) for of_ends in (noise, eps))
        output = model.render(mixed(ends, share), *moved)
        yield from map(Image.fromarray, to_array(output.images[-1]))


def spherical(first: Tensor, last: Tensor, share: Tensor) -> Tensor:
    """From `first` (Z,) to `last` (Z,) by `share` (B, 1) in 0 … 1, along the great circle: (B, Z).

    Straight where both have the same direction, or one is 0.
    """
    cosine = torch.nn.functional.cosine_similarity(first, last, dim=0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if torch.sin(angle) < 1e-4:
        return (1 - share) * first + share * last
    return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * last) / torch.sin(angle)


def mixed(ends: Encoded, share: Tensor) -> Encoded:
    """Features between two captions, `share` (B, 1) of the second: words (B, N_w, 2T), sentence (B, N_w).

    In place of the padding mask stands the logarithm of each word's share (B, 2T), which the memory adds to the
    similarities before the softmax.
    """
    share = share.to(ends.sentence.device)
    words = torch.cat([ends.words[0], ends.words[1]], dim=1)
    sentence = (1 - share) * ends.sentence[0] + share * ends.sentence[1]
    absent = torch.where(ends.padding_mask, -torch.inf, 0.0)
    shares = torch.cat([torch.log(1 - share) + absent[0], torch.log(share) + absent[1]], dim=1)
    return Encoded(words.expand(len(share), -1, -1), sentence, shares)
