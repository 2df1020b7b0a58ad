"""The service's door: checks what is asked, hands it to the models, and answers. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

import dmgan
from cluster.serving.access import allowed
from cluster.serving.answers import as_file, as_json, wanted
from cluster.serving.backend import BusyError, LostError, Model, Observer
from cluster.serving.middleware import BoundedBody, SafeHeaders
from cluster.serving.reader import Reader
from cluster.serving.runs import ServedRun
from cluster.serving.schema import (
    MEDIA_TYPES,
    ImagesAnswer,
    ImagesRequest,
    ModelsAnswer,
    Problem,
    Reading,
    WordsRequest,
)

__all__ = ["gateway"]

PAGE = Path(__file__).parent / "page"
_RETRY_AFTER = "1"  # seconds: batches take less, so there is room again
_PING_SECONDS = 5.0
_DESCRIPTION = """Pictures from captions with DM-GAN. A picture is a function of (model, seed, caption, number,
truncation): the same request gives it again. Refusals are one line, `detail`."""
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "no token, or another one (`Authorization: Bearer TOKEN`)"},
    404: {"model": Problem, "description": "no such model"},
    406: {"model": Problem, "description": "`Accept` names nothing that is made here"},
    413: {"model": Problem, "description": "the request has too many bytes (`serve.max_body`)"},
    422: {"model": Problem, "description": "what is asked cannot be drawn, or is beyond a limit"},
    503: {
        "model": Problem,
        "description": "as many requests wait as may wait (`serve.max_queued`), or the model is starting",
        "headers": {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}},
    },
    504: {"model": Problem, "description": "not drawn in `serve.timeout`"},
}

T = TypeVar("T")


def gateway(runs: Sequence[ServedRun], models: Mapping[str, Model], token: str | None, observe: Observer) -> FastAPI:
    """The HTTP application over `models`, which are by the names of `runs`; with a `token` every call needs it."""
    app = FastAPI(
        title="dmgan", version=dmgan.__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None
    )  # their pages load scripts from elsewhere
    door = _Door({run.name: Reader(run) for run in runs}, models, observe)
    app.add_middleware(BoundedBody, limit=max(run.settings.max_body for run in runs))
    app.add_middleware(SafeHeaders)
    app.exception_handler(RequestValidationError)(_first_mistake)
    _add_calls(app, door, token)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


class _Door:
    """What the calls do."""

    def __init__(self, readers: Mapping[str, Reader], models: Mapping[str, Model], observe: Observer) -> None:
        self.readers, self.models, self.observe = readers, models, observe

    def reader(self, name: str | None) -> Reader:
        """That of the first run where none is named."""
        if name is None:
            return next(iter(self.readers.values()))
        if name not in self.readers:
            raise HTTPException(404, f"model={name[:80]!r}: expected {', '.join(self.readers)}")
        return self.readers[name]

    async def images(self, asked: ImagesRequest, accept: str | None) -> Response:
        reader, started = self.reader(asked.model), time.monotonic()
        status, images = 500, 0
        try:
            response, images = await self._images(reader, asked, accept)
            status = response.status_code
            return response
        except HTTPException as refusal:
            status = refusal.status_code
            raise
        except asyncio.CancelledError:
            status = 499  # the client has gone
            raise
        finally:
            self.observe(reader.run.name, status, time.monotonic() - started, images)

    async def _images(self, reader: Reader, asked: ImagesRequest, accept: str | None) -> tuple[Response, int]:
        run = reader.run
        is_file, kind = wanted(accept, asked.format)
        order = reader.order(asked, kind)
        if is_file and (len(order.requests) > 1 or asked.details):
            what = "details" if asked.details else f"{len(order.requests)} pictures"
            raise HTTPException(422, f"Accept: {accept}: a file is one picture, not {what}; expected application/json")
        seconds = run.settings.timeout
        try:
            drawn = await asyncio.wait_for(self.models[run.name].draw(order), seconds)
        except BusyError:
            raise _later(f"as many requests wait as may wait ({run.settings.max_queued}, serve.max_queued)") from None
        except LostError:
            raise _later(f"{run.name}: the process that holds the model ended; another one is starting") from None
        except TimeoutError:
            raise HTTPException(504, f"not drawn in {seconds:g} s (serve.timeout)") from None
        if is_file:
            return as_file(drawn[0], kind), 1
        return as_json(run.name, run.record.step, drawn, kind), len(drawn)

    async def health(self) -> JSONResponse:
        """Whether every model answers."""
        answers = dict(zip(self.models, await asyncio.gather(*map(self._state, self.models.values())), strict=True))
        fine = all(state == "ready" for state in answers.values())
        return JSONResponse({"status": "ok" if fine else "failing", "models": answers}, 200 if fine else 503)

    async def _state(self, model: Model) -> str:
        try:
            await asyncio.wait_for(model.ping(), _PING_SECONDS)
        except (LostError, TimeoutError):
            return "does not answer"
        return "ready"


def _later(reason: str) -> HTTPException:
    return HTTPException(503, reason, {"Retry-After": _RETRY_AFTER})


def _add_calls(app: FastAPI, door: _Door, token: str | None) -> None:
    async def check(authorization: Annotated[str | None, Header(include_in_schema=False)] = None) -> None:
        if not allowed(authorization, token):
            raise HTTPException(401, "expected Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    async def images(asked: ImagesRequest, accept: Annotated[str | None, Header()] = None) -> Response:
        """Draw pictures: JSON, or with `Accept: image/png`, `image/webp` or `image/jpeg` the file of one picture."""
        return await door.images(asked, accept)

    async def words(asked: WordsRequest) -> Reading:
        """What the text encoder reads of a caption; nothing is drawn."""
        return door.reader(asked.model).read(asked.caption)

    async def models() -> ModelsAnswer:
        """The served runs and their limits; the first one draws where a request names none."""
        return ModelsAnswer(models=[reader.card for reader in door.readers.values()])

    async def vocabulary(name: str) -> dict[str, list[str] | None]:
        """The words a model knows; null where its tokenizer is not one of words."""
        return {"words": door.reader(name).vocabulary}

    async def health() -> Response:
        """200 where every model answers, else 503. Needs no token."""
        return await door.health()

    documented = [Depends(HTTPBearer(auto_error=False))] if token is not None else []
    guarded: dict[str, Any] = {"dependencies": [Depends(check), *documented]}
    files = {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA_TYPES}
    answers: dict[int | str, dict[str, Any]] = {200: {"model": ImagesAnswer, "content": files}, **_PROBLEMS}
    few: dict[int | str, dict[str, Any]] = {status: _PROBLEMS[status] for status in (401, 404, 413, 422)}
    app.post("/v1/images", responses=answers, response_class=JSONResponse, **guarded)(images)
    app.post("/v1/words", responses=few, **guarded)(words)
    app.get("/v1/models", responses={401: _PROBLEMS[401]}, **guarded)(models)
    app.get("/v1/models/{name:path}/vocabulary", responses={s: few[s] for s in (401, 404)}, **guarded)(vocabulary)
    app.get("/healthz", responses={503: {"description": "a model does not answer"}})(health)


async def _page() -> FileResponse:
    return FileResponse(PAGE / "index.html")


async def _first_mistake(request: object, error: Exception) -> JSONResponse:
    """pydantic's first problem in one line, as every other refusal."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "header"))
    said = first["msg"].removeprefix("Value error, ")
    return JSONResponse({"detail": f"{where}: {said}" if where else f"the request: {said}"}, status_code=422)
