"""Findings about a device's health, from what it reported before and after the run."""

from collections.abc import Sequence

from kernels_bench.devices.specifications import Specification
from kernels_bench.judge.doubts import UNKNOWN_LOAD
from kernels_bench.results import FAIL, INVALID, PASS, WARN, Finding, Health, Verdict

BUSY_PERCENT = 10  # of the second before the run
BUSY_SHARE = 0.05  # of a GPU's memory in use before the run


def findings(
    before: Health, after: Health, specification: Specification | None, xids: Sequence[int] = ()
) -> tuple[Finding, ...]:
    """Return the findings about a GPU; values that it does not report give none."""
    problems = [
        *_memory_errors(after),
        *_increased_counters(before, after),
        *_links(before, specification),
        *_settings(before),
        *_other_users(before),
        *(Finding(FAIL, f"the driver reported Xid {xid} during the run") for xid in xids),
    ]
    healthy = () if problems else (Finding(PASS, "nothing wrong in what the GPU reports"),)
    unknown = () if specification else (Finding(WARN, "no row in specifications.toml: nothing to compare it with"),)
    return (*problems, *healthy, *unknown)


def cpu_findings(others_share: float | None, tolerance: float) -> tuple[Finding, ...]:
    """Say which share of the cores other programs used during the run, because it makes figures too low."""
    if others_share is None:
        return (Finding(WARN, f"{UNKNOWN_LOAD}: the kernel does not count it"),)
    verdict = WARN if others_share > tolerance else PASS
    return (Finding(verdict, f"other programs used {others_share:.0%} of the cores during the run"),)


def newcomers(before: Health, after: Health) -> tuple[int, ...]:
    """Return other programs' processes that appeared on the GPU during the run.

    In a container, this process itself may appear under an id of the host; then a single new process is taken for it.
    """
    new = tuple(pid for pid in after.processes or () if pid not in (before.processes or ()))
    return new if after.sees_this_process or len(new) > 1 else ()


def _memory_errors(health: Health) -> list[Finding]:
    errors: tuple[tuple[int | bool | None, Verdict, str], ...] = (
        (health.ecc_uncorrected, FAIL, "{} ECC errors that could not be corrected"),
        (health.ecc_corrected, WARN, "{} ECC errors were corrected since the driver was loaded"),
        (health.row_remap_failed, FAIL, "row remapping has failed: the GPU has no spare rows left there, replace it"),
        (health.row_remap_pending, FAIL, "a row remap waits for a reset of the GPU: reset it and run again"),
        (health.rows_remapped_uncorrected, WARN, "{} rows remapped after uncorrectable errors"),
        (health.rows_remapped_corrected, WARN, "{} rows remapped after corrected errors"),
        (
            *(health.page_retirement_pending, FAIL),
            "memory pages wait for a reset of the GPU to be retired: reset it and run again",
        ),
        (health.pages_retired, WARN, "{} memory pages are retired"),
        (health.ecc is False, WARN, "ECC is off: errors in memory stay unseen"),
    )
    return [Finding(verdict, text.format(count)) for count, verdict, text in errors if count]


def _increased_counters(before: Health, after: Health) -> list[Finding]:
    problems = []
    for counter, first, last in (
        ("PCIe replays", before.pcie_replays, after.pcie_replays),
        ("NVLink errors", before.nvlink_errors, after.nvlink_errors),
        ("corrected ECC errors", before.ecc_corrected, after.ecc_corrected),
    ):
        if first is not None and last is not None and last > first:
            problems.append(Finding(WARN, f"{last - first} {counter} during the run"))
    return problems


def _links(health: Health, specification: Specification | None) -> list[Finding]:
    problems = []
    in_slot, of_gpu = health.pcie_generation_max, health.pcie_generation_card
    if in_slot and of_gpu and in_slot < of_gpu:
        problems.append(Finding(WARN, f"the slot is PCIe generation {in_slot}, the GPU could do {of_gpu}"))
    width = specification.pcie_width if specification else None
    if width and health.pcie_width_max and health.pcie_width_max < width:
        problems.append(Finding(WARN, f"the slot has {health.pcie_width_max} PCIe lanes, the GPU could use {width}"))
    up, links = health.nvlinks_up, health.nvlinks
    if up and links and up < links:
        problems.append(Finding(WARN, f"{up} of the GPU's {links} NVLinks are up"))
    return problems


def _settings(health: Health) -> list[Finding]:
    problems = []
    limit, default = health.power_limit_mw, health.power_default_mw
    if limit and default and limit < default:
        problems.append(
            Finding(WARN, f"the power limit is {limit / 1000:.0f} W, the GPU's default is {default / 1000:.0f} W")
        )
    if health.persistence is False:
        problems.append(Finding(WARN, "persistence mode is off: the first use after a pause waits for the driver"))
    return problems


def _other_users(health: Health) -> list[Finding]:
    if health.mig:
        return [Finding(INVALID, "MIG is on: a slice is measured")]
    if health.processes:
        return [Finding(INVALID, f"in use by other processes: {', '.join(map(str, health.processes))}")]
    used, memory = health.used_bytes, health.memory_bytes
    if used and memory and used > BUSY_SHARE * memory:
        gib = f"{used / 2**30:.1f} GiB"
        if (health.busy_percent or 0) > BUSY_PERCENT:
            return [
                Finding(
                    INVALID,
                    f"{gib} in use and {health.busy_percent} % busy before the run, by a program that this container "
                    "or user cannot see",
                )
            ]
        return [Finding(WARN, f"{gib} were in use before the run, by no process that NVML lists")]
    return []
