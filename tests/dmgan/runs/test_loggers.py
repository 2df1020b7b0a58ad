"""Loggers get lines, pictures and scores, go on where a run goes on, and say at once where they cannot work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cluster.worker.recorder import Recorder
from dmgan.config import ConfigError, load_config
from dmgan.runs.folder import RunFolder
from dmgan.runs.loggers import Logger, MLflow, TensorBoard, WeightsAndBiases, loggers
from dmgan.runs.loggers.logger import scalars
from dmgan.runs.metrics import MetricsLine
from dmgan.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(str(tmp_path / "runs" / "birds"))
    made.write_config(load_config(None, ["train.max_steps=4"]))
    yield made


def line(step: int, stage: str = "train") -> MetricsLine:
    return MetricsLine(
        stage=stage, step=step, epoch=0.5, images=8 * step, images_per_second=3.0, losses={"generator": 1.0 / step}
    )


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), "red").save(buffer, "PNG")
    return buffer.getvalue()


def told(kind: type[Logger], run: RunFolder) -> None:
    """A training that is stopped after two steps, goes on, and is evaluated."""
    first = kind(run, "train", 0)
    first.line(line(2))
    first.samples(png(), 2)
    first.save()
    first.close()
    again = kind(run, "train", 2)
    again.line(line(4))
    again.save()
    again.close()
    scored = kind(run, "evaluate", 0)
    scored.scores({"fid": 12.5, "r_precision": 0.4}, 4)
    scored.close()


def test_every_number_of_a_line_has_a_name() -> None:
    full = line(2).model_copy(update={"statistics": {"diversity": 0.9}, "learning_rates": {"generator": 0.0002}})
    assert scalars(full) == {
        "images_per_second": 3.0,
        "epoch": 0.5,
        "losses/generator": 0.5,
        "statistics/diversity": 0.9,
        "learning_rates/generator": 0.0002,
    }


def test_tensorboard_has_losses_samples_and_scores(run: Run) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told(TensorBoard, run)

    def read(stage: str) -> object:
        found = event_accumulator.EventAccumulator(run.path("tensorboard", stage))
        found.Reload()
        return found

    train, evaluated = read("train"), read("evaluate")
    assert [(event.step, event.value) for event in train.Scalars("losses/generator")] == [(2, 0.5), (4, 0.25)]  # type: ignore[attr-defined]
    (image,) = train.Images("samples")  # type: ignore[attr-defined]
    assert (image.step, image.width, image.height) == (2, 6, 4)
    assert [(event.step, event.value) for event in evaluated.Scalars("scores/fid")] == [(4, 12.5)]  # type: ignore[attr-defined]


def test_mlflow_has_one_run_of_all_starts_in_its_file_store(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    MLflow.check(run)
    told(MLflow, run)
    client = mlflow.MlflowClient(tracking_uri=f"file://{Path(run.url).parent / 'mlruns'}")
    (found,) = client.search_runs([client.get_experiment_by_name("dmgan").experiment_id])
    assert found.info.run_name == "birds" and found.info.status == "FINISHED"
    assert found.data.params["train.max_steps"] == "4" and found.data.params["model.memory"] == "m_wg_rg"
    history = client.get_metric_history(found.info.run_id, "train/losses/generator")
    assert sorted((metric.step, metric.value) for metric in history) == [(2, 0.5), (4, 0.25)]
    assert found.data.metrics["scores/fid"] == 12.5
    assert [file.path for file in client.list_artifacts(found.info.run_id, "samples")] == ["samples/step_00000002.png"]
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI is not set; expected where MLflow keeps the runs"):
        MLflow.check(RunFolder("s3://bucket/runs/birds"))


def logged(content: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, which W&B writes: blocks of 32 KiB, records in parts."""
    at, record = 7, b""
    while at + 7 <= len(content):
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if 32768 - at % 32768 < 7 or kind == 0:  # a block's rest
            at += 32768 - at % 32768
            continue
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_wandb_writes_offline_what_can_be_synchronised_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    WeightsAndBiases.check(run)
    told(WeightsAndBiases, run)
    values: dict[str, set[str]] = {}
    ids = set()
    for file in Path(run.path("wandb")).rglob("*.wandb"):
        ids.add(file.stem)
        for data in logged(file.read_bytes()):
            record = Record()
            record.ParseFromString(data)
            for item in record.history.item:
                values.setdefault(item.key or "/".join(item.nested_key), set()).add(item.value_json)
    assert len(ids) == 1 and "scores/fid" in values, (values, sorted(Path(run.path("wandb")).rglob("*.wandb")))
    assert values["train/losses/generator"] == {"0.5", "0.25"} and values["train/step"] >= {"2", "4"}
    assert values["scores/fid"] == {"12.5"} and values["scores/step"] == {"4"}
    assert list(Path(run.path("wandb")).rglob("media/images/train/samples_*.png"))


def test_wandb_without_a_key_is_refused_before_anything_starts(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"loggers=wandb: no key; expected WANDB_API_KEY"):
        WeightsAndBiases.check(run)


def test_a_logger_whose_package_is_missing_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmgan.runs.loggers.logger.find_spec", lambda name: None)
    for kind, extra in ((MLflow, "mlflow"), (WeightsAndBiases, "wandb")):
        with pytest.raises(ConfigError, match=rf"loggers={extra}: {extra} is not installed; .*\[{extra}\]"):
            kind.check(run)


def test_a_server_that_is_away_costs_a_warning_and_a_fault_of_ours_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(Logger):
        def line(self, line: MetricsLine) -> None:
            raise ConnectionError("no route")

    warnings: list[str] = []
    monkeypatch.setitem(loggers._parts, "away", Away)
    recorder = Recorder(run, "train", 0, ["away"], warnings.append)
    with pytest.raises(ConnectionError):
        recorder.line(line(1))
    monkeypatch.setattr(Away, "may_fail", True)
    recorder.line(line(2))
    recorder.save()
    assert warnings == ["Away was not told: no route; metrics.jsonl has everything"]
    assert [found.step for found in run.read_metrics()] == [1, 2]
