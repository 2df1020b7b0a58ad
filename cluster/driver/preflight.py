"""All that is missing or wrong before a job starts: each problem is the one line that the job would end with."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Set
from importlib.util import find_spec

from cluster.driver.checks import TRAINING, changed_keys, logger_problems, name_problems, problem, weights_problems
from cluster.driver.resources import ClusterError
from cluster.driver.submitted import INSTALL
from cluster.worker.planned import planned_steps
from datasets import storage
from datasets.errors import UserError
from datasets.manifest import Manifest, check_shards, load_manifest
from datasets.vocabulary import Vocabulary
from dmgan.config import Config, ConfigError
from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.protocol import SPLIT, protocol_numbers
from dmgan.model.tokenizers import check_vocabulary
from dmgan.runs.run import Run

__all__ = ["dataset_problems", "packed_problems", "start_problems", "wants_server"]


def start_problems(config: Config, run: Run, stages: Set[str]) -> Iterator[UserError]:
    """Problems of configuration, packages, weights files and the run that is gone on with; the dataset is not read."""
    if not config.data.url:
        yield ConfigError("data.url: not set; expected a packed dataset, a folder or s3://bucket/path")
    if stages & TRAINING and find_spec("deepspeed") is None:  # only workers import it
        yield ClusterError(f"deepspeed: not installed for {sys.executable}; {INSTALL}")
    yield from name_problems(config)
    yield from logger_problems(config, run)
    yield from weights_problems(config, run, stages)
    yield from changed_keys(config, run, stages)
    yield from problem(lambda: wants_server(config, run))


def dataset_problems(config: Config, stages: Set[str]) -> Iterator[UserError]:
    """Problems of the packed dataset at data.url, and of what the stages ask of it."""
    try:
        manifest, vocabulary = load_manifest(config.data.url)
    except UserError as error:
        yield error
    else:
        yield from packed_problems(config, stages, manifest, vocabulary)


def packed_problems(
    config: Config, stages: Set[str], manifest: Manifest, vocabulary: Vocabulary
) -> Iterator[UserError]:
    """The same of a dataset whose manifest has been read."""
    yield from problem(lambda: check_shards(config.data.url, manifest))
    size = config.model.image_sizes[-1]
    if manifest.resolution != size:
        yield ConfigError(
            f"model.base_size={config.model.base_size}, model.refinements={config.model.refinements}: give "
            f"{size} pixels, but {config.data.url} was packed for {manifest.resolution}; pack it again to another "
            "data.url"
        )
    if "pretrain" in stages:
        yield from problem(lambda: check_vocabulary(config.data.url, vocabulary, config.text))
    for stage in sorted(stages & TRAINING):
        yield from problem(lambda stage=stage: planned_steps(config, stage, manifest))  # type: ignore[misc]
    if "evaluate" in stages:
        yield from _evaluation_problems(config, manifest)


def _evaluation_problems(config: Config, manifest: Manifest) -> Iterator[UserError]:
    if SPLIT not in manifest.splits:
        yield ConfigError(
            f"evaluate.enabled={str(config.evaluate.enabled).lower()}: {config.data.url} has no test images to "
            "evaluate on; train with evaluate.enabled=false, or pack it again with some"
        )
        return
    try:
        there = UnseenCaptions(config.data.url, config.evaluate.seed).distractors
    except UserError as error:
        yield error
        return
    wanted = protocol_numbers(config.evaluate, there).distractors
    if not there:
        yield ConfigError(
            f"evaluate.enabled={str(config.evaluate.enabled).lower()}: {config.data.url} has for some test images no "
            "test caption of another class that says something else, which R-precision compares with; train with "
            "evaluate.enabled=false, or pack it again with more test images, such as --set test_share=0.2"
        )
    elif there < wanted:
        yield ConfigError(
            f"evaluate.distractors={wanted}: {config.data.url} has only {there} test captions of "
            "other classes for some images; expected at most that, or unset"
        )


def wants_server(config: Config, run: Run) -> bool:
    """Whether the job needs a local S3 server. Raises ConfigError where the run would be out of its reach."""
    if not config.data.local_s3 or storage.is_local(config.data.url):
        return False
    if storage.s3_endpoint():
        return False
    if not storage.is_local(run.url):
        raise ConfigError(
            f"--storage {run.url}: is in a bucket while data.local_s3=true would serve {config.data.url} from this "
            "machine; set AWS_ENDPOINT_URL, or data.local_s3=false for AWS itself"
        )
    return True
