"""Figures, verdicts and reports: frozen data, written to JSON as they are."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

STOPPED = "stopped by Ctrl-C"

Unit = Literal["B/s", "FLOP/s", "OP/s", "ns"]

# Limits for values in files, so that sums and ratios of them stay finite.
Amount = Annotated[float, msgspec.Meta(gt=0, le=1e30)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Detail = dict[str, str | Whole | float]  # of a figure: sizes, shapes, how it was measured


class Verdict(StrEnum):
    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    INVALID = "INVALID"  # not a figure of the device: it was throttled, shared, a MIG slice or short of memory
    SKIPPED = "SKIPPED"
    MEASURED = "MEASURED"  # a valid figure for which no pass mark is known


PASS, WARN, FAIL = Verdict.PASS, Verdict.WARN, Verdict.FAIL
INVALID, SKIPPED, MEASURED = Verdict.INVALID, Verdict.SKIPPED, Verdict.MEASURED


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all data in files; an unknown field is refused when the file is read."""


class Samples(Struct, frozen=True):
    """Holds all samples of one measurement, by rounds; a sample is the time of one call."""

    rounds_ns: Annotated[
        tuple[Annotated[tuple[NotNegative, ...], msgspec.Meta(min_length=1)], ...], msgspec.Meta(min_length=1)
    ]
    calls_per_sample: Count  # more than one if a single call is too short to be timed alone
    warm_up_calls: Count
    settled: bool  # whether the clock settled during the warm-up
    stable: bool  # whether the last rounds agree
    median_ns: Amount
    iqr_ns: NotNegative  # of the samples that the median is of
    shortened: bool = False  # there was no time for enough rounds to judge whether it is stable

    @property
    def spread(self) -> float:
        """Return the interquartile range as a share of the median."""
        return self.iqr_ns / self.median_ns

    @property
    def count(self) -> int:
        return sum(map(len, self.rounds_ns))


class Check(Struct, frozen=True):
    """Compares the values that a benchmark computed with more precise ones."""

    passed: bool
    against: str
    compared: Count  # number of values
    worst: float  # the largest error, in units of the error that rounding may cause there


class Trial(Struct, frozen=True):
    """Holds a short measurement of another size or shape, which goes with a figure."""

    at: dict[str, Count]  # {"bytes": …} or {"m": …, "n": …, "k": …}
    value: Amount  # in the figure's unit


class Figure(Struct, frozen=True):
    """Holds one measured value; a rate is work / median."""

    test: str
    name: str
    unit: Unit
    value: Amount
    work: Count  # bytes or operations in one call; 0 if the figure is a time
    samples: Samples
    check: Check | None = None
    detail: Detail = {}
    trials: tuple[Trial, ...] = ()
    measured_less: tuple[str, ...] = ()  # what was measured within the time budget, such as "3 of 6 sizes"


class Skipped(Struct, frozen=True):
    """Holds the reason why a figure is missing."""

    test: str
    name: str
    reason: str
    verdict: Verdict = SKIPPED  # INVALID if it should have been measured and could not be
    out_of_time: bool = False  # the time budget was spent


class Reading(Struct, frozen=True):
    """Holds one sample of a GPU while it works; a value that it does not report is None."""

    at_ns: Whole
    sm_mhz: Whole | None = None
    memory_mhz: Whole | None = None
    power_mw: Whole | None = None
    temperature_c: Whole | None = None
    slowed_by: Whole | None = None  # NVML's bit mask of reasons for reduced clocks
    pcie_generation: Whole | None = None
    pcie_width: Whole | None = None


class Health(Struct, frozen=True):
    """Holds what a GPU reports about itself; a value that it does not report is None."""

    uuid: str | None = None
    driver: str | None = None
    memory_bytes: Whole | None = None
    used_bytes: Whole | None = None
    busy_percent: Whole | None = None
    processes: tuple[int, ...] | None = None  # ids of other programs' processes
    sees_this_process: bool | None = None  # a container may hide it, or show it under another id
    mig: bool | None = None
    persistence: bool | None = None
    ecc: bool | None = None
    ecc_corrected: Whole | None = None  # since the driver was loaded
    ecc_uncorrected: Whole | None = None
    rows_remapped_corrected: Whole | None = None
    rows_remapped_uncorrected: Whole | None = None
    row_remap_pending: bool | None = None
    row_remap_failed: bool | None = None
    pages_retired: Whole | None = None
    page_retirement_pending: bool | None = None
    pcie_generation_max: Whole | None = None  # of the GPU in this slot
    pcie_generation_card: Whole | None = None  # of the GPU in any slot
    pcie_width_max: Whole | None = None
    pcie_replays: Whole | None = None
    c2c_links: Whole | None = None  # to the CPU of the same package, over which transfers go instead of PCIe
    nvlinks: Whole | None = None  # links that report a state
    nvlinks_up: Whole | None = None
    nvlink_errors: Whole | None = None
    power_limit_mw: Whole | None = None
    power_default_mw: Whole | None = None


class Finding(Struct, frozen=True):
    """Holds a sentence about a device's health, with its verdict."""

    verdict: Verdict
    text: str


class Result(Struct, frozen=True):
    """Holds a figure, or why it is missing, with its verdict and the reasons for that."""

    verdict: Verdict
    reasons: tuple[str, ...]
    device: str  # cpu, cuda:0, cuda:0→cuda:1
    figure: Figure | None = None
    skipped: Skipped | None = None
    others_share: float | None = None  # share of the cores that other programs used; None: not known
    doubts: tuple[str, ...] = ()  # why the figure may be lower than what the device can do

    @property
    def test(self) -> str:
        part = self.figure or self.skipped
        return part.test if part else ""

    @property
    def name(self) -> str:
        part = self.figure or self.skipped
        return part.name if part else ""


class Device(Struct, frozen=True):
    """Describes a GPU or a CPU."""

    target: str  # torch's name: cpu, cuda:0
    name: str
    identity: str  # the same for the same device in every run
    memory_bytes: Count
    cache_bytes: Count  # of the last level
    cores: Count  # cores of a CPU, multiprocessors of a GPU
    capability: str | None = None  # CUDA's compute capability

    @property
    def is_cuda(self) -> bool:
        return self.target != "cpu"


class DeviceReport(Struct, frozen=True):
    device: Device
    health_before: Health
    health_after: Health
    findings: tuple[Finding, ...]
    curve: tuple[Reading, ...] = ()  # during the sustained run


class Report(Struct, frozen=True):
    """Holds the content of the file that --json writes and --baseline reads."""

    schema: Literal["kernels_bench/1"]
    started: str  # UTC
    seconds: NotNegative
    command: tuple[str, ...]
    quick: bool
    tolerance: NotNegative
    versions: dict[str, str]
    devices: tuple[DeviceReport, ...]
    results: tuple[Result, ...]
    topology: dict[str, str] = {}  # "cuda:0→cuda:1": "same switch"
    stopped: bool = False  # by Ctrl-C, before the end
    measured_less: tuple[str, ...] = ()  # what --quick left out or shortened to end in time

    @property
    def models(self) -> dict[str, str]:
        """Return the model of each device."""
        return {part.device.target: part.device.name for part in self.devices}

    @property
    def verdicts(self) -> list[Verdict]:
        """Return those of all results and of the devices' health."""
        health = [finding.verdict for part in self.devices for finding in part.findings]
        return [*(result.verdict for result in self.results), *health]

    @property
    def between_devices(self) -> list[Result]:
        return [result for result in self.results if result.device not in self.models]

    def of(self, target: str) -> list[Result]:
        """Return the results of one device, or of a pair."""
        return [result for result in self.results if result.device == target]
