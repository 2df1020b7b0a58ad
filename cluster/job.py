"""The main job: dataset, pre-training, training, evaluation, report; each stage only where it is not done yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from cluster.local_s3 import local_s3
from cluster.train import fit, planned_steps, samples_of
from datasets import birds, cub, storage
from datasets.manifest import check_shards, load_manifest
from datasets.pack import pack
from dmgan.config import Config, ConfigError
from dmgan.run import Run

__all__ = ["STAGES", "ClusterError", "complete", "main_job", "opened"]


class ClusterError(Exception):
    """The Ray cluster cannot run the job; one line."""


# A run's weights and random draws depend on these, so resuming with others would not be resuming.
_FIXED = (
    "data.url",
    "model",
    "objective",
    "optimizer",
    "pretrain",
    "train.batch_size",
    "train.seed",
    "train.workers",
    "train.batch_statistics",
    "deepspeed.zero_stage",
)
STAGES = ("dataset", "pretrain", "train", "evaluate", "report")


def say(stage: str, text: str) -> None:
    print(f"[{STAGES.index(stage) + 1}/{len(STAGES)}] {stage}: {text}", flush=True)


def complete(config: Config, run: Run) -> bool:
    """Whether every stage of this very configuration is done."""
    if not (run.has("run.yaml") and run.has("generator.json") and run.has("report.html")):
        return False
    if run.read_config() != config:
        return False
    about = run.read_json("generator.json")
    evaluated = not config.evaluate.enabled or (
        run.has("evaluation.json") and run.read_json("evaluation.json")["step"] == about["step"]
    )
    return bool(about["step"] >= about["steps"] and evaluated)


def main_job(config: Config, run: Run) -> None:
    """Everything from the dataset to report.html, from where the run stands."""
    with opened(config, run):
        training_stages(config, run)
        if config.evaluate.enabled:
            evaluate_stage(config, run)
        report_stage(config, run)


@contextmanager
def opened(config: Config, run: Run, cluster: bool = True) -> Iterator[None]:
    """The run's configuration recorded, its dataset in reach, and (if `cluster`) Ray connected."""
    _check_weights(config, run)
    if not config.data.url:
        raise ConfigError("data.url: not set; expected a packed dataset, a folder or s3://bucket/path")
    record(config, run)
    own_server = (
        config.data.local_s3 and not storage.is_local(config.data.url) and not os.environ.get("AWS_ENDPOINT_URL")
    )
    if own_server:
        say("dataset", "no AWS_ENDPOINT_URL is set: starting a local S3 server for this run")
    with local_s3(_local_folder(run) / ".s3") if own_server else nullcontext():
        _dataset(config, _local_folder(run))
        if not cluster:
            yield
            return
        with _ray(config.train.workers):
            yield


def training_stages(config: Config, run: Run, until: str = "train") -> None:
    """Pre-train the encoders and, `until` "train", the GAN, as far as they are not trained yet."""
    manifest, _ = load_manifest(config.data.url)
    texts = {}
    if config.pretrain.encoders is not None and not run.has("encoders.safetensors"):
        source = Run(config.pretrain.encoders)
        run.save_encoders(source.load_encoders(config), source.read_vocabulary())
        say("pretrain", f"encoders taken from {source.url}")
    elif run.has("encoders.safetensors"):
        say("pretrain", "done already")
    else:
        steps, _ = planned_steps(config, "pretrain", manifest)
        texts["pretrain"] = f"text and image encoders (DAMSM), {steps} steps"
    if until == "train":
        steps, _ = planned_steps(config, "train", manifest)
        if run.trained_steps() >= steps:
            say("train", "done already")
        else:
            texts["train"] = f"DM-GAN, {steps} steps, DeepSpeed ZeRO {config.deepspeed.zero_stage}"
    if texts:
        workers = config.train.workers
        print(f"      starting {workers} Ray Train worker{'s' if workers > 1 else ''}", flush=True)
        fit(config, run, list(texts), lambda stage: say(stage, texts[stage]))


def evaluate_stage(config: Config, run: Run) -> None:
    from cluster.evaluate import evaluate

    if run.has("evaluation.json") and run.read_json("evaluation.json")["step"] == run.trained_steps():
        say("evaluate", "done already")
        return
    say("evaluate", f"{config.evaluate.images} images from unseen captions, {config.evaluate.features} features")
    result = evaluate(config, run)
    precision, inception = result["r_precision"], result["inception_score"]
    line = f"R-precision {100 * precision['mean']:.1f} ± {100 * precision['std']:.1f} %, FID {result['fid']:.3f}, "
    line += f"IS {inception['mean']:.2f} ± {inception['std']:.2f} (on {result['features']} features)"
    if "colour_accuracy" in result:
        line += f", body colour as captioned {100 * result['colour_accuracy']:.1f} %"
    say("evaluate", line)


def report_stage(config: Config, run: Run) -> None:
    from dmgan.report import write_report

    where = write_report(config, run, samples_of(config, run, run.load_encoders(config)))
    say("report", where)


def record(config: Config, run: Run) -> None:
    """Write run.yaml, or refuse to resume a run with a configuration that is not its own."""
    storage.check_reachable(run.url)
    if run.has("run.yaml"):
        before, now = run.read_config().model_dump(), config.model_dump()
        for key in _FIXED:
            old, new = _at(before, key), _at(now, key)
            if old != new and old != "":  # an imported run has no dataset yet
                raise ConfigError(
                    f"{key}: run {run.name} was started with {_difference(old, new)}; "
                    "go on with its own value, or start another run with --name"
                )
    run.write_config(config)


def _at(tree: object, key: str) -> object:
    for part in key.split("."):
        assert isinstance(tree, dict)
        tree = tree[part]
    return tree


def _difference(old: object, new: object) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        key = next(k for k in old if old[k] != new[k])
        return f"{key}={old[key]}, not {new[key]}"
    return f"{old}, not {new}"


def _check_weights(config: Config, run: Run) -> None:
    """Weights that cannot be had here are named at the start rather than after days of training."""
    wanted = []
    trained = config.pretrain.encoders is not None or run.has("encoders.safetensors")
    if config.model.image_encoder == "inception-v3" and not trained:
        wanted.append(
            (
                "pretrain.inception_weights",
                config.pretrain.inception_weights,
                "torchvision's ImageNet weights of inception_v3 (inception_v3_google-0cc3c7bd.pth)",
                "pretrain.encoders=RUN or model.image_encoder=compact",
            )
        )
    if config.evaluate.enabled and config.evaluate.features == "inception-v3":
        wanted.append(
            (
                "evaluate.inception_weights",
                config.evaluate.inception_weights,
                "torch-fidelity's Inception weights (weights-inception-2015-12-05-6726825d.pth)",
                "evaluate.features=damsm or evaluate.enabled=false",
            )
        )
    for key, value, what, instead in wanted:
        if value is None:
            raise ConfigError(f"{key}: not set; expected the path of {what}; or set {instead}")
        if not storage.exists(value):
            raise ConfigError(f"{key}={value}: not found; expected {what}")


def _local_folder(run: Run) -> Path:
    """Where this machine keeps what runs share: beside the runs, or in ./runs when they are in a bucket."""
    return Path(run.url).absolute().parent if storage.is_local(run.url) else Path("runs").absolute()


def _dataset(config: Config, folder: Path) -> None:
    """The dataset is there and whole; the drawn birds are made in `folder` if they are asked for and missing."""
    url = config.data.url
    if config.data.draw_birds and not storage.exists(storage.join(url, "manifest.json")):
        source = folder / ".birds"
        say("dataset", f"drawing birds into {source} and packing them to {url}")
        birds.ensure(source)
        pack(list(cub.read(source)), url, name="drawn birds", resolution=config.model.image_sizes[-1])
    manifest, vocabulary = load_manifest(url)
    check_shards(url, manifest)
    if manifest.resolution != config.model.image_sizes[-1]:
        raise ConfigError(
            f"model.base_size={config.model.base_size}, model.refinements={config.model.refinements}: give "
            f"{config.model.image_sizes[-1]} pixels, but {url} was packed for {manifest.resolution}"
        )
    train, test = manifest.split("train"), manifest.split("test")
    text = f"{url}: {train.samples} training and {test.samples} test images, {len(vocabulary)} words"
    say("dataset", text)


@contextmanager
def _ray(workers: int) -> Iterator[None]:
    import ray

    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
        ray.init(logging_level="ERROR", log_to_driver=False, **own)
    try:
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU", 0) else "CPU"
        there = int(resources.get(kind, 0))
        if workers > there:
            raise ClusterError(f"train.workers={workers}: each worker needs one {kind}, the Ray cluster has {there}")
        yield
    finally:
        ray.shutdown()
