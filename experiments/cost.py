"""What do N people on D devices cost? Hours and dollars, from a rate that says where it is from.

    python -m experiments.cost --people=1000 --frames=150 --devices=2 --device=cpu --size=paper
    python -m experiments.cost --people=1000 --devices=16 --device=v5e --size=paper --cycles=900
    python -m experiments.cost --people=1000 --devices=2 --device=cpu --run=RUN [--phase=online]
    python -m experiments.cost --run=RUN --check=OTHER_RUN

A device works for `together` people at a time, and a person for `frames` times `steps` steps; a job
ends with its last wave of people. With --run the rate is that of a finished job, its first chunk of
people taken apart for the compiler's time. Without, it is measured on two cores for 'cpu'
(experiments/README.md); for a TPU --cycles are millions that its compiler expects of a frame
(experiments/accelerator.py); and else it is the arithmetic of a frame at an assumed share of the
chip's peak, since nobody has measured it. --check predicts another finished job, and compares.

Prices are assumptions of November 2026, of the order of what clouds list; --price has yours.
"""

import argparse
import json
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

PRICES = {'cpu': 0.05, 'v5e': 1.2, 'h100': 3.0}  # dollars an hour: of a core, of a chip
CORES_MEASURED = 2
MEASURED = {'small': 16.6, 'paper': 0.715}  # frames/s of these cores, a step a frame
ARITHMETIC = {'small': 11.6e9, 'paper': 475e9}  # FLOP of a frame's step and prediction
PEAK = {'v5e': 197e12, 'h100': 989e12}  # FLOP/s in bfloat16, as published
CLOCK = {'v5e': 1.5e9}  # cycles a second
SHARE = 0.05  # of the peak: assumed
COMPILING = 60.0  # seconds


class Rate(NamedTuple):
    """frame: a device's seconds for one person's step; fixed: before the first; source: whence."""

    frame: float
    fixed: float
    source: str


class Job(NamedTuple):
    """people of `frames` frames, `steps` steps a frame, on devices that take `together` each."""

    people: int
    frames: float
    steps: float
    devices: int
    together: int = 1


def seconds(job: Job, rate: Rate) -> float:
    """How long the job takes, people of equal length."""
    waves = math.ceil(job.people / (job.devices * job.together))
    return rate.fixed + waves * job.together * job.frames * job.steps * rate.frame


def known_rate(device: str, size: str, *, cycles: float, together: int, share: float) -> Rate:
    """The rate of a device that no run is given of.

    Raises ValueError for cycles of a device whose clock is not known.
    """
    if cycles:
        if device not in CLOCK:
            raise ValueError(f'--cycles is {cycles}, but of a {device} no clock is known')
        told = f'estimated: {cycles} M cycles a frame of {together}, as the compiler expects'
        return Rate(cycles * 1e6 / CLOCK[device] / together, COMPILING, told)
    if device == 'cpu':
        told = f'measured: {MEASURED[size]} frames/s on {CORES_MEASURED} cores'
        return Rate(CORES_MEASURED / MEASURED[size], COMPILING, told)
    told = f'ASSUMED: {share:.0%} of the peak of {PEAK[device] / 1e12:.0f} TFLOP/s, not measured'
    return Rate(ARITHMETIC[size] / (share * PEAK[device]), COMPILING, told)


# --- finished jobs ---------------------------------------------------------------------------


def read(workdir: pathlib.Path, phase: str) -> tuple[Job, dict[str, Any], list[dict[str, Any]]]:
    """(what a finished job was, with steps of a frame as one; its report; its rows).

    Raises ValueError where the phase is not there.
    """
    report = json.loads((workdir / 'report.json').read_text())
    lines = (workdir / 'results.jsonl').read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if row['phase'] == phase and row['seconds']]
    if not rows or phase not in report['seconds']:
        raise ValueError(f'{workdir}: nobody was adapted {phase}, expected a finished job')
    devices = int(report['placement']['devices'].split(' ')[0])
    together = report['placement']['people_per_chunk'] // devices
    job = Job(len(rows), float(np.mean([row['frames'] for row in rows])), 1, devices, together)
    return job, report, rows


def rate_of(workdir: pathlib.Path, phase: str) -> Rate:
    """The rate of a finished job: the median of its people, and what all took beyond that."""
    job, report, rows = read(workdir, phase)
    each = float(np.median([row['seconds'] / row['frames'] for row in rows]))  # an even share
    frames = sum(row['frames'] for row in rows)
    fixed = report['seconds'][phase] - each * frames
    return Rate(each * job.devices, max(0.0, fixed), f'measured: {len(rows)} people of {workdir}')


def check(workdir: pathlib.Path, other: pathlib.Path, phase: str) -> None:
    """Prints what one job says of another, and how long that took."""
    job, report, _ = read(other, phase)
    expected, took = seconds(job, rate_of(workdir, phase)), report['seconds'][phase]
    print(
        f'{job.people} people of {job.frames:.0f} frames on {job.devices} devices, {phase}: '
        f'{expected:.0f} s expected, {took:.0f} s taken ({expected / took - 1:+.1%})'
    )


def show(job: Job, rate: Rate, price: float) -> None:
    """Prints hours and dollars."""
    hours = seconds(job, rate) / 3600
    print(f'{rate.source}; {1 / rate.frame:.3g} steps/s a device, {rate.fixed:.0f} s at first')
    print(
        f'{job.people:,} people of {job.frames:.0f} frames, {job.steps:g} steps each, on '
        f'{job.devices} devices: {hours:,.2f} h, ${hours * job.devices * price:,.2f} at '
        f'${price:g} a device and hour (an assumption unless you gave it)'
    )


def study() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--people', type=int, default=1000)
    parser.add_argument('--frames', type=float, default=71)  # a Penn Action test video, on average
    parser.add_argument('--steps', type=float, default=1)  # a frame
    parser.add_argument('--devices', type=int, default=1)
    parser.add_argument('--device', choices=sorted(PRICES), default='cpu')
    parser.add_argument('--together', type=int, default=1)
    parser.add_argument('--size', choices=sorted(MEASURED), default='small')
    parser.add_argument('--cycles', type=float, default=0)
    parser.add_argument('--share', type=float, default=SHARE)
    parser.add_argument('--price', type=float)
    parser.add_argument('--run', type=pathlib.Path)
    parser.add_argument('--phase', default='online')
    parser.add_argument('--check', type=pathlib.Path)
    given = parser.parse_args()
    if given.check:
        check(given.run, given.check, given.phase)
        return
    rate = (
        rate_of(given.run, given.phase)
        if given.run
        else known_rate(
            given.device,
            given.size,
            cycles=given.cycles,
            together=given.together,
            share=given.share,
        )
    )
    job = Job(given.people, given.frames, given.steps, given.devices, given.together)
    show(job, rate, PRICES[given.device] if given.price is None else given.price)


if __name__ == '__main__':
    study()
