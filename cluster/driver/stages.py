"""The main job: dataset, pre-training, training, evaluation, report; each stage only where it is not done yet."""

from __future__ import annotations

import sys
from _thread import interrupt_main
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from pathlib import Path

from cluster.driver.captions import check_captions, check_samples, pretraining_tokenizer, sides_note
from cluster.driver.checks import TRAINING
from cluster.driver.failures import workers_as_one_line
from cluster.driver.fit import fit
from cluster.driver.judging import make_judge
from cluster.driver.live_report import refreshed
from cluster.driver.preflight import packed_problems, start_problems, wants_server
from cluster.driver.resources import ray_cluster
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.errors import short_reason
from datasets.manifest import SPLIT_NAMES, Manifest, load_manifest
from datasets.packing.command import read_source
from datasets.packing.pack import PackOptions, pack
from datasets.storage.lease import LeaseToken, leased
from datasets.storage.local_s3 import local_s3
from datasets.terminal import styled, warn
from dmgan.config import Config, ConfigError, with_values
from dmgan.evaluation.protocol import SPLIT, departures, protocol_numbers
from dmgan.evaluation.record import Evaluation, read_evaluation
from dmgan.runs.driver_log import recorded
from dmgan.runs.folder import LEASE, LIVE_REPORT
from dmgan.runs.loggers import loggers
from dmgan.runs.run import Run

__all__ = ["STAGES", "check_start", "complete", "main_job", "prepared", "stages_of"]

STAGES = ("dataset", "pretrain", "train", "evaluate", "report")


def say(stage: str, text: str) -> None:
    head = styled(f"[{STAGES.index(stage) + 1}/{len(STAGES)}] {stage}:", "stage", sys.stdout)
    print(f"{head} {text}", flush=True)


def complete(config: Config, run: Run) -> bool:
    """Whether every stage of this very configuration is done."""
    record = run.read_generator_record()
    if record is None or not (run.has("run.yaml") and run.has("report.html")) or run.has(LIVE_REPORT):
        return False
    finished = record.step >= record.steps > 0
    # The last look reads the networks.
    return finished and run.read_config() == config and (not config.evaluate.enabled or _is_evaluated(config, run))


def _is_evaluated(config: Config, run: Run) -> bool:
    """Whether evaluation.json is of the generator that is there and of what the configuration asks for."""
    from cluster.evaluation.candidate import candidate

    evaluation = read_evaluation(run)
    if evaluation is None or evaluation.step != run.trained_steps() or evaluation.weights != config.evaluate.weights:
        return False
    return evaluation.checksum == candidate(config, run).checksum


def stages_of(config: Config) -> Set[str]:
    """The stages of the main job that need workers."""
    return TRAINING | ({"evaluate"} if config.evaluate.enabled else set())


def main_job(config: Config, run: Run) -> None:
    """Everything from the dataset to report.html, from where the run stands."""
    with prepared(config, run, stages_of(config)) as lease:
        training_stages(config, run, lease=lease, live_report=True)
        if config.evaluate.enabled:
            evaluate_stage(config, run)
        report_stage(config, run)


def check_start(config: Config, run: Run, stages: Set[str]) -> None:
    """Raises the first of the problems that need neither Ray nor the dataset to be seen."""
    if (first := next(start_problems(config, run, stages), None)) is not None:
        raise first


@contextmanager
def prepared(
    config: Config,
    run: Run,
    stages: Set[str],
    *,
    spare_cpus: int = 0,
    dashboard: bool = False,
    dataset: bool = True,
) -> Iterator[LeaseToken]:
    """All that `stages` (of pretrain, train, evaluate) need is there, and the run's configuration is recorded.

    Weights files, the dataset with all its shards, and (unless `stages` is empty) a Ray cluster large enough, with
    `spare_cpus` beside those of the workers and a `dashboard` if it is our own. Without `dataset` the dataset may be
    missing, for what does without it. Raises
    ConfigError, ManifestError, StorageError, ClusterError, LeaseError or LocalS3Error before anything of the run is
    written. Yields the lease that holds the run meanwhile.
    """
    check_start(config, run, stages)
    storage.check_reachable(run.url)
    server = _local_server(config, run) if wants_server(config, run) else nullcontext()
    # Two drivers on one run would mix what they write.
    with (
        leased(run.path(LEASE), config.checkpoint.lease_seconds, interrupt_main) as lease,
        recorded(run, lease) as log,
        server,
    ):
        if dataset:
            _dataset(config, _local_folder(run), stages)
        with ray_cluster(config, run.url, spare_cpus=spare_cpus, dashboard=dashboard) if stages else nullcontext():
            run.write_config(_recorded(config, run, stages))
            log.begin()
            yield lease


def training_stages(
    config: Config, run: Run, until: str = "train", lease: LeaseToken | None = None, *, live_report: bool = False
) -> None:
    """Pre-train the encoders and, `until` "train", the GAN, as far as they are not trained yet.

    Workers write as long as `lease` is held. With `live_report` the run has its report while it trains.
    """
    manifest, _ = load_manifest(config.data.url)
    record = run.read_generator_record()
    if until == "train" and record is not None and record.is_imported:
        raise ConfigError(
            f"{run.url}: holds an imported generator, which training would replace; start another run with --name and "
            f"--set pretrain.encoders={run.url}"
        )
    texts = {}
    if not _encoders(config, run, manifest):
        steps = planned_steps(config, "pretrain", manifest, run)
        texts["pretrain"] = f"text and image encoders (DAMSM), {steps} steps"
    if until == "train":
        steps = planned_steps(config, "train", manifest, run)
        if run.trained_steps() >= steps:
            say("train", "done already")
        else:
            texts["train"] = f"DM-GAN, {steps} steps, DeepSpeed ZeRO {config.deepspeed.zero_stage}"
            run.set_planned_steps(steps)
    if texts:
        storage.remove(run.path("report.html"))  # it is of another state of the run from here on
        workers = config.train.workers
        print(f"      starting {workers} Ray Train worker{'s' if workers > 1 else ''}", flush=True)
        with refreshed(run, lambda: _write_report(config, run)) if live_report else nullcontext():
            fit(config, run, list(texts), lambda stage: say(stage, texts[stage]), lease)


def _encoders(config: Config, run: Run, manifest: Manifest) -> bool:
    """Whether the run has its encoders; where it has not, it has the tokenizer that all workers pre-train with."""
    source = Run(config.pretrain.encoders) if config.pretrain.encoders is not None else None
    origin = run if run.has("encoders.safetensors") else source
    if origin is None:
        tokenizer, whose = pretraining_tokenizer(config, run)
    else:
        tokenizer, whose = origin.read_tokenizer(config), origin.path("vocabulary.json")
    if config.evaluate.enabled and SPLIT in manifest.splits:
        check_captions(config, SPLIT, tokenizer, whose)  # now rather than after days of training
    cut = check_captions(config, "train", tokenizer, whose)
    check_samples(config, tokenizer)
    if origin is None:
        run.save_tokenizer(tokenizer)
    elif origin is run:
        say("pretrain", "done already")
    else:
        run.save_encoders(origin.load_encoders(config), tokenizer)
        say("pretrain", f"encoders taken from {origin.url}")
    for note in (cut, sides_note(config)):
        if note:
            print(f"      note: {note}", flush=True)
    return origin is not None


def evaluate_stage(
    config: Config, run: Run, steps: Sequence[int] | None = None, save_images: str | None = None
) -> None:
    """Score the run's generator, or those of its checkpoints at `steps`; `save_images` gets the generated images."""
    from cluster.evaluation.candidate import candidate, current_evaluation
    from cluster.evaluation.evaluate import evaluate, write_evaluation
    from dmgan.evaluation.captions import UnseenCaptions

    make_judge(config, run, lambda chosen, judge: training_stages(chosen, judge, until="pretrain"))
    wanted: Sequence[int | None] = steps or [None]
    candidates = [candidate(config, run, step) for step in wanted]
    if steps is None and save_images is None:
        evaluation = read_evaluation(run)
        if evaluation is not None and evaluation.checksum == candidates[0].checksum:
            say("evaluate", "done already")
            return
    captions = UnseenCaptions(config.data.url, config.evaluate.seed)
    own = protocol_numbers(config.evaluate, captions.distractors)
    changed = departures(config, own)
    protocol = config.evaluate.protocol + (f" with {', '.join(changed)}" if changed else "")
    say("evaluate", f"{own.images} images from unseen captions, protocol {protocol}")
    if cut := check_captions(config, SPLIT, run.read_tokenizer(config), run.path("vocabulary.json")):
        print(f"      note: {cut}", flush=True)
    for chosen in candidates:
        result = current_evaluation(run, chosen) if save_images is None else None
        if result is None:
            with workers_as_one_line("evaluation"):
                result = evaluate(config, run, chosen, save_images, captions)
        else:
            write_evaluation(run, result)
        _tell_loggers(config, run, result)
        _say_scores(result, f"step {chosen.step}: " if steps else "")


def _tell_loggers(config: Config, run: Run, result: Evaluation) -> None:
    """The scores, to the run's loggers; a server that is away costs a warning."""
    values = {score.name: score.of(result.values) for score in result.scores}
    for name in config.loggers:
        kind = loggers.get(name)
        try:
            logger = kind(run, "evaluate", 0)
            logger.scores(values, result.step)
            logger.close()
        except Exception as error:
            if not kind.may_fail:
                raise
            warn(f"{kind.__name__} was not told the scores: {short_reason(error)}")


def _say_scores(result: Evaluation, prefix: str) -> None:
    figures = []
    for score in result.scores:
        ceiling = result.ceiling(score)
        figures.append(f"{score.label} {score.shown(result.values)}" + (f" (real images {ceiling})" if ceiling else ""))
    say("evaluate", f"{prefix}{', '.join(figures)} (FID and IS on {result.features} features)")
    for caveat in result.caveats:
        print(f"      note: {caveat}", flush=True)


def report_stage(config: Config, run: Run, beside: Sequence[Run] = ()) -> None:
    """Write the run's report, with samples, curves and scores of the runs `beside` it."""
    where = _write_report(config, run, beside)
    storage.remove(run.path(LIVE_REPORT))
    say("report", where)


def _write_report(config: Config, run: Run, beside: Sequence[Run] = ()) -> str:
    from dmgan.report.page import write_report

    return write_report(config, run, beside)


def _recorded(config: Config, run: Run, stages: Set[str]) -> Config:
    """What run.yaml is to say: this configuration, or the run's own with these scores' keys."""
    if stages & TRAINING or not run.has("run.yaml"):
        return config
    own = run.read_config()
    return with_values(own, {"evaluate": config.evaluate.model_dump(), "data.url": own.data.url or config.data.url})


@contextmanager
def _local_server(config: Config, run: Run) -> Iterator[None]:
    say("dataset", "no AWS_ENDPOINT_URL is set: starting a local S3 server for this run")
    with local_s3(_local_folder(run) / ".s3"):
        yield


def _local_folder(run: Run) -> Path:
    """Where this machine keeps what runs share: beside the runs, or in ./runs when they are in a bucket."""
    return Path(run.url).absolute().parent if storage.is_local(run.url) else Path("runs").absolute()


def _dataset(config: Config, folder: Path, stages: Set[str]) -> None:
    """The dataset is there and whole; drawn pictures are made if they are asked for and missing, in `folder`."""
    url = config.data.url
    if config.data.draw_birds and not storage.exists(storage.join(url, "manifest.json")):
        kind, source = config.data.drawn, folder / ".birds"  # where `birds` are kept; the others are not
        say("dataset", f"drawing {kind}{f' into {source}' if kind == 'birds' else ''} and packing them to {url}")
        options = PackOptions(resolution=config.model.image_sizes[-1])
        pack(read_source(kind, str(source), options), url, options)
    manifest, vocabulary = load_manifest(url)
    if (first := next(packed_problems(config, stages, manifest, vocabulary), None)) is not None:
        raise first
    counts = " and ".join(f"{part.samples} {SPLIT_NAMES[name]}" for name, part in manifest.splits.items())
    say("dataset", f"{url}: {counts} images, {len(vocabulary)} words")
