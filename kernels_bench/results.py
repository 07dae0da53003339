"""What is measured and what is said about it: frozen data, written to JSON as it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import msgspec

STOPPED = "stopped by Ctrl-C"

Unit = Literal["B/s", "FLOP/s", "OP/s", "ns"]

# What a file may hold: sums and ratios of such numbers stay finite.
Amount = Annotated[float, msgspec.Meta(gt=0, le=1e30)]
NotNegative = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Verdict(StrEnum):
    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"
    INVALID = "INVALID"  # not the card's own figure: throttled, shared, sliced, cramped
    SKIPPED = "SKIPPED"
    MEASURED = "MEASURED"  # a real figure for which no pass mark is known


PASS, WARN, FAIL = Verdict.PASS, Verdict.WARN, Verdict.FAIL
INVALID, SKIPPED, MEASURED = Verdict.INVALID, Verdict.SKIPPED, Verdict.MEASURED


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all that goes to a file: a misspelt or unknown field is refused when it is read back."""


class Samples(Struct, frozen=True):
    """Every sample of one measurement, in rounds. A sample is the time of one call."""

    rounds_ns: Annotated[
        tuple[Annotated[tuple[NotNegative, ...], msgspec.Meta(min_length=1)], ...], msgspec.Meta(min_length=1)
    ]
    calls_per_sample: Count  # more than one where a single call is too short to be timed alone
    warm_up_calls: Count
    settled: bool  # whether the clock came to rest during the warm-up
    stable: bool  # whether the last rounds agree
    median_ns: Amount
    iqr_ns: NotNegative  # between the quartiles of the same samples as the median
    shortened: bool = False  # there was no time for as many rounds as tell whether it is stable

    @property
    def spread(self) -> float:
        """The distance between the quartiles as a share of the median."""
        return self.iqr_ns / self.median_ns

    @property
    def count(self) -> int:
        return sum(map(len, self.rounds_ns))


class Check(Struct, frozen=True):
    """The result compared with a better one."""

    passed: bool
    against: str
    compared: Count  # values compared
    worst: float  # the largest error, in units of the error that rounding may cause at that place


class Trial(Struct, frozen=True):
    """One short measurement beside a figure: another size, another shape."""

    at: dict[str, Count]  # {"bytes": …} or {"m": …, "n": …, "k": …}
    value: Amount  # in the figure's unit


class Figure(Struct, frozen=True):
    """One measured number. Rates are work / median."""

    test: str
    name: str
    unit: Unit
    value: Amount
    work: Count  # bytes or operations in one call; 0 where the figure is a time
    samples: Samples
    check: Check | None = None
    detail: dict[str, str | Whole | float] = {}
    trials: tuple[Trial, ...] = ()
    measured_less: tuple[str, ...] = ()  # what the time budget left out of it, as "3 of 6 sizes"


class Skipped(Struct, frozen=True):
    """A figure that is not there, and why."""

    test: str
    name: str
    reason: str
    verdict: Verdict = SKIPPED  # INVALID where it should have been measured and could not be
    out_of_time: bool = False  # left out because the time budget was spent


class Reading(Struct, frozen=True):
    """One look at the card while it works; what it would not say is None."""

    at_ns: Whole
    sm_mhz: Whole | None = None
    memory_mhz: Whole | None = None
    power_mw: Whole | None = None
    temperature_c: Whole | None = None
    slowed_by: Whole | None = None  # NVML's bits
    pcie_generation: Whole | None = None
    pcie_width: Whole | None = None


class Health(Struct, frozen=True):
    """The card's own account of itself; what it would not say is None."""

    uuid: str | None = None
    driver: str | None = None
    memory_bytes: Whole | None = None
    used_bytes: Whole | None = None
    busy_percent: Whole | None = None
    processes: tuple[int, ...] | None = None  # of others
    sees_this_process: bool | None = None  # a container may hide it, or show it under another number
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
    pcie_generation_max: Whole | None = None  # of the card in this slot
    pcie_generation_card: Whole | None = None  # of the card in any slot
    pcie_width_max: Whole | None = None
    pcie_replays: Whole | None = None
    nvlinks: Whole | None = None  # that the card answers for
    nvlinks_up: Whole | None = None
    nvlink_errors: Whole | None = None
    power_limit_mw: Whole | None = None
    power_default_mw: Whole | None = None


class Finding(Struct, frozen=True):
    """One sentence about the card's health."""

    verdict: Verdict
    text: str


class Result(Struct, frozen=True):
    """A figure or its absence, and what is said about it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    device: str  # cpu, cuda:0, cuda:0→cuda:1
    figure: Figure | None = None
    skipped: Skipped | None = None
    others_share: float | None = None  # of the cores, used by other programs meanwhile; None: not known
    doubts: tuple[str, ...] = ()  # why the figure may be lower than the device can do

    @property
    def test(self) -> str:
        part = self.figure or self.skipped
        return part.test if part else ""

    @property
    def name(self) -> str:
        part = self.figure or self.skipped
        return part.name if part else ""


class Device(Struct, frozen=True):
    """What a card or a processor is, before anything runs on it."""

    target: str  # torch's name for it: cpu, cuda:0
    name: str
    identity: str  # the same for the same device in every run
    memory_bytes: Count
    cache_bytes: Count  # the last level's
    cores: Count  # the processor's cores, the card's multiprocessors
    capability: str | None = None  # CUDA's compute capability

    @property
    def is_cuda(self) -> bool:
        return self.target != "cpu"


class DeviceReport(Struct, frozen=True):
    device: Device
    health_before: Health
    health_after: Health
    findings: tuple[Finding, ...]
    curve: tuple[Reading, ...] = ()  # while the sustained run went on


class Report(Struct, frozen=True):
    """The file that --json writes and --baseline reads."""

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
