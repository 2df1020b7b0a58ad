"""From drawings to an HTTP answer: a file where one is asked for, else JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from urllib.parse import quote

from fastapi import HTTPException, Response

from cluster.serving.pictures import Drawn, DrawnRefinement
from cluster.serving.schema import MEDIA_TYPES, Format, ImagesAnswer, Picture, Refinement

__all__ = ["as_file", "as_json", "wanted"]

_TYPES = {kind: media for media, kind in MEDIA_TYPES.items()}


def wanted(accept: str | None, kind: Format | None) -> tuple[bool, Format]:
    """Whether the header `Accept` asks for a file, and the format of pictures. Raises HTTPException 406."""
    for media in _by_preference(accept or "*/*"):
        if media in ("application/json", "application/*", "*/*"):
            return False, kind or "png"
        if media == "image/*" or (media in MEDIA_TYPES and kind in (None, MEDIA_TYPES[media])):
            return True, kind or MEDIA_TYPES.get(media, "png")
    asked = f" with format={kind}" if kind else ""
    raise HTTPException(406, f"Accept: {accept}{asked}: expected application/json, {', '.join(MEDIA_TYPES)}")


def _by_preference(accept: str) -> list[str]:
    """Media types of a header `Accept`, the preferred first (RFC 9110, 12.5.1)."""
    found: list[tuple[float, str]] = []
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        try:
            found.append((float(quality), media))
        except ValueError:
            raise HTTPException(406, f"Accept: {accept}: {quality}: expected a number") from None
    return [media for quality, media in sorted(found, key=lambda each: -each[0]) if quality > 0]


def as_file(image: Drawn, kind: Format) -> Response:
    """The picture alone; what JSON says beside it is in headers."""
    headers = {"X-Seed": str(image.seed), "X-Number": str(image.number)}
    if image.unknown_words:  # as JSON in percent encoding: a header carries ASCII
        headers["X-Unknown-Words"] = quote(json.dumps(image.unknown_words, ensure_ascii=False), safe='[]",')
    return Response(image.image, media_type=_TYPES[kind], headers=headers)


def as_json(model: str, step: int, images: Sequence[Drawn], kind: Format) -> Response:
    """`ImagesAnswer`."""
    answer = ImagesAnswer(model=model, step=step, media_type=_TYPES[kind], images=[_picture(image) for image in images])
    return Response(answer.model_dump_json(), media_type="application/json")


def _picture(image: Drawn) -> Picture:
    return Picture(
        caption=image.caption,
        number=image.number,
        seed=image.seed,
        truncation=image.truncation,
        words=image.words,
        unknown_words=image.unknown_words,
        image=_base64(image.image),
        stages=[_base64(stage) for stage in image.stages],
        refinements=[_refinement(each) for each in image.refinements],
    )


def _refinement(each: DrawnRefinement) -> Refinement:
    return Refinement(
        attention=None if each.attention is None else _base64(each.attention),
        size=each.size,
        reading=each.reading,
        writing_gates=each.writing_gates,
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
