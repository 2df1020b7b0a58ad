"""What the service answers, over HTTP to the application itself: drawing is real, Ray is not there."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from cluster.serving.backend import BusyError, LostError, Model
from cluster.serving.gateway import gateway
from cluster.serving.pictures import Drawn, Order, drawn
from cluster.serving.runs import served_runs
from dmgan import TextToImage
from dmgan.runs.run import Run
from tests.cluster.serving.service import pixels, vivid_run

CAPTION = "this bird is red with black wings"
TOKEN = "a-token-of-the-tests"


class Drawing:
    """A model in this process."""

    def __init__(self, url: str) -> None:
        self.model = TextToImage.from_run(url, device="cpu")

    async def draw(self, order: Order) -> list[Drawn]:
        drawings = self.model.draw(order.requests, maps=order.details)
        return [drawn(drawing, order.format, order.details) for drawing in drawings]

    async def ping(self) -> None:
        pass


class Failing:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def draw(self, order: Order) -> list[Drawn]:
        raise self.error

    async def ping(self) -> None:
        raise self.error


class Stuck:
    async def draw(self, order: Order) -> list[Drawn]:
        await asyncio.Event().wait()
        raise AssertionError

    async def ping(self) -> None:
        pass


Seen = list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def vivid(untrained: tuple[Run, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vivid_run(untrained[0], tmp_path_factory.mktemp("served") / "untrained", seed=0)


@pytest.fixture(scope="module")
def client_of(vivid: Run) -> Callable[..., tuple[TestClient, Seen]]:
    folder, name = vivid.url.rsplit("/", 1)
    shared = Drawing(vivid.url)

    def make(
        models: Mapping[str, Model] | None = None, token: str | None = None, *settings: str
    ) -> tuple[TestClient, Seen]:
        runs = served_runs([name], folder, settings)
        seen: Seen = []
        app = gateway(
            runs,
            models or {name: shared},
            token,
            lambda model, status, seconds, images: seen.append((model, status, images)),
        )
        return TestClient(app, raise_server_exceptions=False), seen

    return make


@pytest.fixture(scope="module")
def client(client_of: Callable[..., tuple[TestClient, Seen]]) -> TestClient:
    return client_of()[0]


def expected(run: Run, caption: str = CAPTION, **options: object) -> np.ndarray:
    result = TextToImage.from_run(run.url, device="cpu")([caption], **options)  # type: ignore[arg-type]
    return np.asarray(result.images[-1])


def test_a_file_is_what_the_model_draws(client: TestClient, vivid: Run) -> None:
    wanted = expected(vivid, seed=3, truncation=0.7)
    body = {"captions": [CAPTION], "seed": 3, "truncation": 0.7}
    for media in ("image/png", "image/webp"):
        answer = client.post("/v1/images", json=body, headers={"Accept": media})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        assert np.array_equal(pixels(answer.content), wanted)
    assert np.abs(wanted.astype(int) - expected(vivid, seed=4)).max() > 50  # another noise is another picture
    assert answer.headers["x-seed"] == "3" and answer.headers["x-number"] == "0"
    answer = client.post("/v1/images", json={**body, "format": "jpeg"}, headers={"Accept": "image/*"})
    assert Image.open(io.BytesIO(answer.content)).format == "JPEG"
    assert np.abs(pixels(answer.content).astype(int) - wanted).mean() < 12


def test_json_has_every_caption_and_noise_in_order(client: TestClient, vivid: Run) -> None:
    body = {"captions": [CAPTION, "a blue zyzzyva"], "count": 2, "number": 5, "seed": 1, "format": "webp"}
    answer = client.post("/v1/images", json=body).json()
    assert (answer["model"], answer["step"], answer["media_type"]) == ("untrained", 3, "image/webp")
    images = answer["images"]
    assert [(each["caption"], each["number"]) for each in images] == [
        (CAPTION, 5),
        (CAPTION, 6),
        ("a blue zyzzyva", 5),
        ("a blue zyzzyva", 6),
    ]
    assert [each["unknown_words"] for each in images] == [[], [], ["zyzzyva"], ["zyzzyva"]]
    assert images[2]["words"] == ["a", "blue"] and images[0]["stages"] == []
    model = TextToImage.from_run(vivid.url, device="cpu")
    last = np.asarray(model([CAPTION], count=7, seed=1).images[6])
    assert np.abs(pixels(base64.b64decode(images[1]["image"])).astype(int) - last).max() <= 1


def test_details_are_the_stages_and_what_the_memory_did(client: TestClient, vivid: Run) -> None:
    (image,) = client.post("/v1/images", json={"captions": [CAPTION], "details": True}).json()["images"]
    (real,) = TextToImage.from_run(vivid.url, device="cpu")([CAPTION]).drawings
    assert [pixels(base64.b64decode(stage)).shape[0] for stage in image["stages"]] == [16, 32, 64]
    assert image["stages"][-1] == image["image"]
    for i, refinement in enumerate(image["refinements"]):
        words, height, width = real.attention[i].shape
        assert refinement["size"] == [height, width] and words == len(image["words"])
        maps = pixels(base64.b64decode(refinement["attention"])).reshape(words, height, width)
        assert np.abs(maps / 255 - real.attention[i]).max() < 0.6 / 255
        assert np.allclose(refinement["reading"], real.reading[i], atol=1e-4)
        assert np.allclose(refinement["writing_gates"], real.writing_gates[i], atol=1e-4)


def test_unknown_words_of_a_file_are_in_a_header(client: TestClient) -> None:
    answer = client.post("/v1/images", json={"captions": ["a red żółw"]}, headers={"Accept": "image/png"})
    assert json.loads(unquote(answer.headers["x-unknown-words"])) == ["żółw"]


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ({}, 422, "captions: Field required"),
        ({"captions": []}, 422, "captions: List should have at least 1 item"),
        ({"captions": ["zyzzyva"]}, 422, "captions[0]='zyzzyva': none of its words is in the vocabulary"),
        ({"captions": ["a bird", ""]}, 422, "captions[1]='': none of its words"),
        ({"captions": ["a" * 501]}, 422, "captions[0]: has 501 characters, expected at most 500"),
        ({"captions": ["a bird"] * 13, "count": 5}, 422, "13 × 5 = 65 images, expected at most 64"),
        ({"captions": ["a bird"], "count": 0}, 422, "count: Input should be greater than or equal to 1"),
        ({"captions": ["a bird"], "count": 10**30}, 422, "images, expected at most 64"),
        ({"captions": ["a bird"], "seed": -1}, 422, "seed: Input should be greater"),
        ({"captions": ["a bird"], "seed": 2**60}, 422, "seed: Input should be less"),
        ({"captions": ["a bird"], "truncation": 0}, 422, "truncation: Input should be greater than 0"),
        ({"captions": ["a bird"], "format": "gif"}, 422, "format: Input should be 'png', 'webp' or 'jpeg'"),
        ({"captions": ["a bird"], "sed": 3}, 422, "sed: Extra inputs are not permitted"),
        ({"captions": ["a bird"], "model": "nobody"}, 404, "model='nobody': expected untrained"),
        ({"captions": "a bird"}, 422, "captions: Input should be a valid list"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(body: dict[str, object], status: int, line: str, client: TestClient) -> None:
    answer = client.post("/v1/images", json=body)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"]), answer.text
    assert line in answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "body", "status"),
    [
        ("text/html", {}, 406),
        ("image/png", {"format": "webp"}, 406),
        ("image/png", {"count": 2}, 422),
        ("image/png", {"details": True}, 422),
        ("image/png;q=0, application/json;q=0.1", {}, 200),
        ("image/png;q=much", {}, 406),
    ],
)
def test_what_accept_asks_for(accept: str, body: dict[str, object], status: int, client: TestClient) -> None:
    answer = client.post("/v1/images", json={"captions": ["a bird"], **body}, headers={"Accept": accept})
    assert answer.status_code == status
    assert status == 200 or accept in answer.json()["detail"]


def test_a_body_has_a_limit_however_it_is_sent(client_of: Callable[..., tuple[TestClient, Seen]]) -> None:
    client, _ = client_of(None, None, "serve.max_body=1000")
    body = json.dumps({"captions": ["a bird"], "seed": 1}).encode()
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/images", content=body + b" " * (1000 - len(body)), headers=headers).status_code == 200
    for content in (body + b" " * 1000, iter([body, b" " * 600, b" " * 600])):
        answer = client.post("/v1/images", content=content, headers=headers)
        assert answer.status_code == 413 and "more than 1000 bytes" in answer.json()["detail"]


def test_busy_lost_and_slow_models_are_said(client_of: Callable[..., tuple[TestClient, Seen]]) -> None:
    for model, settings, status, line in (
        (Failing(BusyError()), ("serve.max_queued=7",), 503, "as many requests wait as may wait (7, serve.max_queued)"),
        (Failing(LostError()), (), 503, "the process that holds the model ended"),
        (Stuck(), ("serve.timeout=0.05",), 504, "not drawn in 0.05 s"),
    ):
        client, seen = client_of({"untrained": model}, None, *settings)
        answer = client.post("/v1/images", json={"captions": ["a bird"]})
        assert answer.status_code == status and line in answer.json()["detail"]
        assert ("retry-after" in answer.headers) == (status == 503)
        assert seen == [("untrained", status, 0)]


def test_health_is_that_of_every_model(client_of: Callable[..., tuple[TestClient, Seen]], client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "models": {"untrained": "ready"}}
    lost = client_of({"untrained": Failing(LostError())})[0].get("/healthz")
    assert (lost.status_code, lost.json()["models"]) == (503, {"untrained": "does not answer"})


def test_a_token_opens_every_call(client_of: Callable[..., tuple[TestClient, Seen]]) -> None:
    client, _ = client_of(None, TOKEN)
    calls = [("POST", "/v1/images"), ("POST", "/v1/words"), ("GET", "/v1/models")]
    calls.append(("GET", "/v1/models/untrained/vocabulary"))
    for method, path in calls:
        for header in ({}, {"Authorization": "Bearer another"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = client.request(method, path, headers=header, json={} if method == "POST" else None)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        opened = client.request(
            method, path, headers={"Authorization": f"Bearer {TOKEN}"}, json={} if method == "POST" else None
        )
        assert opened.status_code in (200, 422)
    for path in ("/", "/page/page.js", "/healthz", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_words_are_read_without_drawing(client: TestClient) -> None:
    caption = "This BIRD, zyzzyva! " + "red " * 40
    answer = client.post("/v1/words", json={"caption": caption}).json()
    assert answer["words"][:3] == ["this", "bird", "red"] and len(answer["words"]) == 18
    assert answer["unknown_words"] == ["zyzzyva"] and answer["cut"] == 42 - 18
    words = client.get("/v1/models/untrained/vocabulary").json()["words"]
    assert "red" in words and "zyzzyva" not in words and "<end>" not in words
    (card,) = client.get("/v1/models").json()["models"]
    assert (card["name"], card["resolutions"], card["max_images"]) == ("untrained", [16, 32, 64], 64)


def test_the_schema_describes_what_is_answered(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    call = schema["paths"]["/v1/images"]["post"]
    assert set(call["responses"]["200"]["content"]) == {"application/json", "image/png", "image/webp", "image/jpeg"}
    assert {"401", "404", "406", "413", "422", "503", "504"} <= set(call["responses"])
    assert "Retry-After" in call["responses"]["503"]["headers"]
    described = schema["components"]["schemas"]["ImagesRequest"]["properties"]
    assert all("description" in each for each in described.values())
    answer = client.post("/v1/images", json={"captions": ["a bird"], "details": True}).json()
    assert set(schema["components"]["schemas"]["Picture"]["properties"]) == set(answer["images"][0])


def test_browsers_are_told_to_trust_nothing_else(client: TestClient) -> None:
    for path in ("/", "/page/style.css", "/v1/models", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    page = Path("cluster/serving/page")
    for file in page.iterdir():
        text = file.read_text()
        assert "innerHTML" not in text and "https://" not in text, file
