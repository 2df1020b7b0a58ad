"""The evaluation on a Ray cluster: from a generator and a protocol to scores.

Parts of the images are the unit of work. What a part gives depends on its range alone; it is kept in the run's folder
as soon as it is there, so a worker or a driver that is killed costs the parts it was at.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping

import numpy as np

from cluster.evaluation.candidate import Candidate, candidate
from cluster.evaluation.team import Team, tasks
from datasets import storage
from datasets.manifest import Manifest, load_manifest
from dmgan.config import Config
from dmgan.evaluation.captions import UnseenCaptions
from dmgan.evaluation.features import describe_extractor
from dmgan.evaluation.metrics import Settings, Sums
from dmgan.evaluation.metrics.fid import read_moments
from dmgan.evaluation.protocol import SPLIT, describe, fewer_distractors, settings
from dmgan.evaluation.record import ClassScore, Evaluation, Extreme
from dmgan.evaluation.sums import PartSums, caveats, ceilings, confusions, scores, to_bytes
from dmgan.pixels import png
from dmgan.runs.run import Run

__all__ = ["evaluate", "write_evaluation"]

_SHOWN = 8  # images of the best and of the worst match
# What of the protocol the sums of real images depend on.
_OF_REAL = (
    "real",
    "pixels",
    "extractor",
    "dtype",
    "captions",
    "r_precision",
    "encoders_sha256",
    "judges_sha256",
    "seed",
)
_CLASSES = 1000  # with more of them a list by class says nothing


def evaluate(
    config: Config,
    run: Run,
    chosen: Candidate | None = None,
    save_images: str | None = None,
    captions: UnseenCaptions | None = None,
) -> Evaluation:
    """Score a generator on unseen captions; returns what it writes to RUN/evaluations/ and, of the run's own, to
    RUN/evaluation.json.

    Goes on from the parts that an evaluation of the same weights and protocol left. `save_images` is a folder or
    bucket that gets every generated image. `captions` are those of the test split, where they were read already.
    """
    started = time.monotonic()
    chosen = chosen or candidate(config, run)
    manifest, _ = load_manifest(config.data.url)
    captions = captions or UnseenCaptions(config.data.url, config.evaluate.seed)
    whole = settings(config, manifest.name, captions.distractors)
    protocol = _protocol(config, manifest, whole, chosen)
    folder = f"evaluations/parts-{_hash([chosen.checksum, save_images])}"
    team = Team(config, run, chosen.generator, whole, save_images)
    try:
        real = _real(config, run, manifest, protocol, team, folder)
        generated = team.total(tasks("generated", whole.numbers.images, config.evaluate.batch_size, folder))
        values = scores(generated, real, whole)
        extremes = _extremes(run, chosen, generated["r_precision"], captions, team)
    finally:
        team.dismiss()
    found = {
        **values,
        **extremes,
        "data": config.data.url,
        "features": config.evaluate.features,
        "r_precision_by_class": _by_class(generated["r_precision"], captions),
        "protocol": protocol,
        "real_scores": ceilings(real, whole),
        "confusions": _confusions(generated, whole),
        "caveats": [*fewer_distractors(whole), *caveats(generated, real, whole)],
        "seconds": round(time.monotonic() - started, 1),
    }
    result = _record(found, chosen, whole.numbers.images)
    write_evaluation(run, result)
    storage.remove_folder(run.path(folder))
    return result


def _record(found: Mapping[str, object], chosen: Candidate, images: int) -> Evaluation:
    """What was found, and whose it is."""
    whose = {"step": chosen.step, "weights": chosen.weights, "generator_sha256": chosen.generator_sha256}
    return Evaluation.model_validate({**found, **whose, "checksum": chosen.checksum, "images": images})


def _confusions(generated: PartSums, whole: Settings) -> dict[str, object]:
    """By attribute, ready for JSON."""
    return {
        label: {"labels": list(found.labels), "counts": found.counts.tolist()}
        for label, found in confusions(generated, whole).items()
    }


def write_evaluation(run: Run, result: Evaluation) -> None:
    """Into RUN/evaluations/, and into RUN/evaluation.json where it is of the run's own generator."""
    run.write_json(f"evaluations/{result.name}.json", result.model_dump())
    if result.step == run.trained_steps():
        run.write_json("evaluation.json", result.model_dump())


def _protocol(config: Config, manifest: Manifest, whole: Settings, chosen: Candidate) -> dict[str, object]:
    part, given = manifest.split(SPLIT), config.evaluate.real_statistics
    if given is not None:
        real: dict[str, object] = {"statistics": given, "sha256": hashlib.sha256(storage.read_bytes(given)).hexdigest()}
    else:
        real = {"split": SPLIT, "images": part.samples, "sha256": part.sha256}
    encoders = chosen.encoders_sha256
    extractor = describe_extractor(config.evaluate, encoders, config.objective.gamma3)
    return describe(config, whole, extractor, real, part.captions_sha256, encoders, chosen.judges_sha256)


def _real(
    config: Config, run: Run, manifest: Manifest, protocol: dict[str, object], team: Team, folder: str
) -> PartSums:
    """From the file that is given, else from the cache beside the runs, else of the split's images."""
    options = config.evaluate
    if options.real_statistics is not None:
        moments = read_moments(options.real_statistics)
        moments.check(team.feature_dimensions(), f"evaluate.real_statistics={options.real_statistics}")
        return {"fid": moments.to_sums()}
    key = _hash([[name, protocol.get(name)] for name in _OF_REAL] + [sorted(team.metrics)])
    cached = storage.join(run.url.rstrip("/").rpartition("/")[0], ".real-statistics", f"{key}.safetensors")
    if (sums := team.sums_at(cached)) is None:
        sums = team.total(tasks("real", manifest.split(SPLIT).samples, options.batch_size, folder))
        storage.write_bytes(cached, to_bytes(sums))
    return sums


def _extremes(
    run: Run, chosen: Candidate, found: Sums, captions: UnseenCaptions, team: Team
) -> dict[str, list[Extreme]]:
    """The images that match their captions best and worst, with a picture: the best above, the worst below."""
    order = np.argsort(-found["matching"], kind="stable")
    rows = {"best": order[:_SHOWN].tolist(), "worst": order[::-1][:_SHOWN].tolist()}
    images = team.images([*rows["best"], *rows["worst"]])
    both = np.concatenate([np.concatenate(list(half), axis=1) for half in np.split(images, 2)], axis=0)
    location = run.path("evaluations", f"{chosen.name}.png")
    storage.write_bytes(location, png(both))
    return {
        name: [
            Extreme(image=k, caption=captions.texts[c], score=round(float(found["matching"][k]), 4))
            for k, c in zip(indices, captions.of(indices).tolist(), strict=True)
        ]
        for name, indices in rows.items()
    }


def _by_class(found: Sums, captions: UnseenCaptions) -> list[ClassScore]:
    """R-precision of every class, the worst first; nothing where nearly every image is of its own."""
    classes = captions.classes[captions.of(np.arange(len(found["found"])))]
    present = np.unique(classes)
    if len(present) > min(_CLASSES, len(classes) // 2):
        return []
    hits_of = [(int(c), found["found"][classes == c]) for c in present]
    rows = [
        ClassScore(class_name=captions.class_names[c], images=len(hits), r_precision=round(float(hits.mean()), 4))
        for c, hits in hits_of
    ]
    return sorted(rows, key=lambda row: (row.r_precision, row.class_name))


def _hash(value: object, length: int = 16) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
