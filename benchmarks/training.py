"""python -m benchmarks.training: one step of training, ours and the released procedure's, in one process.

    released    the released procedure on today's PyTorch: `benchmarks.released_procedure`
    float32     ours
    bfloat16    ours with train.precision=bfloat16
    float32-compiled, bfloat16-compiled    the same with train.compile=true, where --ours names them

on random images and captions at a preset's sizes, on a GPU where there is one, else on the CPU. In every round each way
takes a step, in a changing order, so that what else the machine does falls on all; the first step of each is not
counted. `--ours float32` leaves bfloat16 out, which a processor without units for bfloat16 computes very slowly. A
ratio is that of two steps of one round. Processor seconds are those of all threads, also while one waits for another:
with OMP_NUM_THREADS=1 they hardly depend on what else the machine does.

Neither Ray nor DeepSpeed is needed, but for `--workers 1,2`, which adds a step's time on so many processes:
`benchmarks.training_scaling`.

`--json` prints the result as the last line.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.training_costs import matmul_rate, operations, parts, peak_memory
from benchmarks.training_ways import (
    FLOAT32,
    OURS,
    RELEASED,
    STAGES,
    TRAIN,
    Step,
    Work,
    make_way,
    our_training,
    timed,
    uncompiled,
)
from datasets.errors import UserError, run_command

__all__ = ["main"]

Result = dict[str, Any]
_DEFAULT = ("float32", "bfloat16")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="cub", help="a preset or a YAML file whose first stage has 64 pixels")
    parser.add_argument("--stage", default=TRAIN, choices=STAGES, help="of the GAN, or of its encoders (DAMSM)")
    parser.add_argument("--batch", type=int, default=4, help="images of a batch, two or more")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each way that count")
    parser.add_argument("--ours", nargs="+", default=_DEFAULT, choices=list(OURS), help="what is measured of ours")
    parser.add_argument("--workers", default="", help="numbers of processes, e.g. 1,2, for the scaling with DeepSpeed")
    parser.add_argument("--zero", default="", help="ZeRO stages for --workers, e.g. 0,1,2,3; default: the preset's")
    parser.add_argument("--json", action="store_true", help="the result as the last line")
    return run_command("benchmarks.training", partial(_carry_out, parser.parse_args(arguments)))


def _carry_out(options: argparse.Namespace) -> int:
    if options.batch < 2 or options.rounds < 1:
        raise UserError(f"--batch {options.batch} --rounds {options.rounds}: expected at least 2 and 1")
    workers, stages = _numbers("--workers", options.workers), _numbers("--zero", options.zero)
    if workers and options.stage != TRAIN:
        raise UserError(f"--workers {options.workers}: expected --stage {TRAIN}, whose scaling it is")
    if not all(workers) or not all(stage <= 3 for stage in stages) or (stages and not workers):
        raise UserError(
            f"--workers {options.workers} --zero {options.zero}: expected positive numbers of workers, and for them "
            "stages from 0 to 3"
        )
    work = Work(
        options.preset, options.batch, torch.device("cuda" if torch.cuda.is_available() else "cpu"), options.stage
    )
    work.check()
    if workers:
        from benchmarks.training_scaling import check_device, scaling, scaling_table

        check_device(work.device)
    result = measure(work, options.rounds, options.ours)
    print(table(result))
    if workers:
        result["scaling"] = scaling(work, workers, stages or [work.config().deepspeed.zero_stage], options.rounds)
        print(f"\n{scaling_table(result['scaling'])}")
    if options.json:
        print(json.dumps(result))
    return 0


def _numbers(flag: str, given: str) -> list[int]:
    found = [part.strip() for part in given.split(",") if part.strip()]
    if not all(part.isdecimal() for part in found):
        raise UserError(f"{flag} {given}: expected numbers with commas between them, e.g. 1,2")
    return [int(part) for part in found]


def measure(work: Work, rounds: int, ours: Sequence[str] = _DEFAULT) -> Result:
    """Everything but the scaling, ready for JSON; `ours` are the ways of ours that are measured."""
    ways = {name: make_way(name, work) for name in (RELEASED, *ours)}
    flops = {name: _first_step(name, way, work) for name, way in ways.items()}
    seconds, processor = _interleaved(ways, work, rounds)
    memory = {name: peak_memory(name, work) for name in tqdm(ways, desc="memory", unit="way")}
    types = {name: torch.bfloat16 if name.startswith("bfloat16") else torch.float32 for name in ways}
    rates = {dtype: matmul_rate(work.device, dtype) for dtype in set(types.values())}
    result: Result = {
        "preset": work.preset,
        "stage": work.stage,
        "batch": work.batch,
        "rounds": rounds,
        "device": device_name(work.device),
    }
    for name in ways:
        median = statistics.median(seconds[name])
        result[name] = {
            "seconds": median,
            "processor_seconds": statistics.median(processor[name]),
            "images_per_second": work.batch / median,
            "peak_bytes": memory[name],
            "flops": flops[name],
            "flops_per_second": flops[name] / median,
            "of_matmul_rate": flops[name] / median / rates[types[name]],
        }
    for name in ours:
        found = [theirs / ours for theirs, ours in zip(seconds[RELEASED], seconds[name], strict=True)]
        result[f"ratio_{name}"] = statistics.median(found)
        result[f"ratio_{name}_range"] = [min(found), max(found)]
    if FLOAT32 in ours:
        result["memory_ratio"] = memory[FLOAT32] / memory[RELEASED]
    del ways
    if work.stage == TRAIN:
        result["parts"] = _median_parts(work, rounds)
    return result


def _first_step(name: str, way: Step, work: Work) -> int:
    """Warm up; the operations of a step, which torch.compile hides from those who count them."""
    if name == uncompiled(name):
        return operations(way, 0)
    way(0)
    return operations(make_way(uncompiled(name), work), 0)


def _interleaved(ways: dict[str, Step], work: Work, rounds: int) -> tuple[dict[str, list[float]], ...]:
    """Seconds of every step of each way by the clock, and by the processor."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in tqdm(range(rounds), desc="measure", unit="round"):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.process_time()
            seconds[name].append(timed(partial(ways[name], number + 1), work.device))
            processor[name].append(time.process_time() - began)
    return seconds, processor


def _median_parts(work: Work, rounds: int) -> dict[str, float]:
    """Seconds of a step of ours in float32 by part."""
    training = our_training(work)
    found = [parts(training, work, number) for number in range(rounds + 1)][1:]
    return {name: statistics.median([each[name] for each in found]) for name in found[0]}


def device_name(device: torch.device) -> str:
    """The card, or the processor with the number of threads and its units for bfloat16."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = named.get("flags", "").split()
    units = [unit for unit, flag in (("AMX", "amx_bf16"), ("AVX512-BF16", "avx512_bf16")) if flag in flags]
    name = named.get("model name", platform.processor() or platform.machine())
    return f"{name}, {torch.get_num_threads()} threads, {' and '.join(units) or 'no unit for bfloat16'}"


def table(result: Result) -> str:
    """As in docs/speed.md."""
    rows = [
        f"{result['preset']}, {result['stage']}, batch {result['batch']}, {result['rounds']} rounds, "
        f"{result['device']}",
        "",
        "| | s | processor s | images/s | × released (min, median, max) | peak GB | TFLOP | GFLOP/s | of matmul |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (way for way in (RELEASED, *OURS) if way in result):
        way, ratio = result[name], "1"
        if name != RELEASED:
            low, high = result[f"ratio_{name}_range"]
            ratio = f"{low:.2f}, {result[f'ratio_{name}']:.2f}, {high:.2f}"
        rows.append(
            f"| {name} | {way['seconds']:.2f} | {way['processor_seconds']:.2f} | {way['images_per_second']:.2f} "
            f"| {ratio} | {way['peak_bytes'] / 1e9:.2f} | {way['flops'] / 1e12:.2f} "
            f"| {way['flops_per_second'] / 1e9:.0f} | {way['of_matmul_rate']:.0%} |"
        )
    if "parts" not in result:
        return "\n".join(rows)
    total = sum(result["parts"].values())
    rows += ["", "| part of float32's step | s | share |", "|---|---|---|"]
    rows += [f"| {name} | {spent:.2f} | {spent / total:.0%} |" for name, spent in result["parts"].items()]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
