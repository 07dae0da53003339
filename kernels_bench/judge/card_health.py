"""The card's health in sentences: what it said before and after the run, judged. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from kernels_bench.devices.specifications import Specification
from kernels_bench.judge.doubts import UNKNOWN_LOAD
from kernels_bench.results import FAIL, INVALID, PASS, WARN, Finding, Health

BUSY_PERCENT = 10  # of the last second, before anything of ours runs
BUSY_SHARE = 0.05  # of a card's memory in use before anything of ours runs


def findings(
    before: Health, after: Health, specification: Specification | None, xids: Sequence[int] = ()
) -> tuple[Finding, ...]:
    """Nothing is said about what the card did not answer."""
    found = [
        *_memory_cells(after),
        *_counted_up(before, after),
        *_link(before, specification),
        *_setting(before),
        *_company(before),
        *(Finding(FAIL, f"the driver reported Xid {xid} during the run") for xid in xids),
    ]
    healthy = () if found else (Finding(PASS, "nothing wrong in what the card says of itself"),)
    unknown = () if specification else (Finding(WARN, "no row in specifications.toml: nothing to hold it to"),)
    return (*found, *healthy, *unknown)


def cpu_findings(others_share: float | None, tolerance: float) -> tuple[Finding, ...]:
    """Say how much of the cores other programs used during the run: figures measured beside them are too low."""
    if others_share is None:
        return (Finding(WARN, f"{UNKNOWN_LOAD}: the kernel does not count it"),)
    verdict = WARN if others_share > tolerance else PASS
    return (Finding(verdict, f"other programs used {others_share:.0%} of the cores during the run"),)


def newcomers(before: Health, after: Health) -> tuple[int, ...]:
    """Processes of others that came to the card during the run. Where this process does not find itself under its
    own number, it stands there under one of the host's: one newcomer is taken for it."""
    came = tuple(pid for pid in after.processes or () if pid not in (before.processes or ()))
    return came if after.sees_this_process or len(came) > 1 else ()


def _memory_cells(health: Health) -> list[Finding]:
    found = []
    if health.ecc_uncorrected:
        found.append(Finding(FAIL, f"{health.ecc_uncorrected} ECC errors that could not be corrected"))
    if health.ecc_corrected:
        found.append(Finding(WARN, f"{health.ecc_corrected} ECC errors were corrected since the driver was loaded"))
    if health.row_remap_failed:
        found.append(Finding(FAIL, "row remapping has failed: the card has no spare rows left there, replace it"))
    if health.row_remap_pending:
        found.append(Finding(FAIL, "a row remap waits for a reset of the card: reset it and run again"))
    if health.rows_remapped_uncorrected:
        found.append(Finding(WARN, f"{health.rows_remapped_uncorrected} rows remapped after uncorrectable errors"))
    if health.rows_remapped_corrected:
        found.append(Finding(WARN, f"{health.rows_remapped_corrected} rows remapped after corrected errors"))
    if health.page_retirement_pending:
        found.append(Finding(FAIL, "memory pages wait for a reset of the card to be retired: reset it and run again"))
    if health.pages_retired:
        found.append(Finding(WARN, f"{health.pages_retired} memory pages are retired"))
    if health.ecc is False:
        found.append(Finding(WARN, "ECC is off: errors in memory stay unseen"))
    return found


def _counted_up(before: Health, after: Health) -> list[Finding]:
    found = []
    for what, early, late in (
        ("PCIe replays", before.pcie_replays, after.pcie_replays),
        ("NVLink errors", before.nvlink_errors, after.nvlink_errors),
        ("corrected ECC errors", before.ecc_corrected, after.ecc_corrected),
    ):
        if early is not None and late is not None and late > early:
            found.append(Finding(WARN, f"{late - early} {what} during the run"))
    return found


def _link(health: Health, specification: Specification | None) -> list[Finding]:
    found = []
    slot, card = health.pcie_generation_max, health.pcie_generation_card
    if slot and card and slot < card:
        found.append(Finding(WARN, f"the slot is PCIe generation {slot}, the card could do {card}"))
    width = specification.pcie_width if specification else None
    if width and health.pcie_width_max and health.pcie_width_max < width:
        found.append(Finding(WARN, f"the slot has {health.pcie_width_max} PCIe lanes, the card could use {width}"))
    up, links = health.nvlinks_up, health.nvlinks
    if up and links and up < links:
        found.append(Finding(WARN, f"{up} of the card's {links} NVLinks are up"))
    return found


def _setting(health: Health) -> list[Finding]:
    found = []
    limit, default = health.power_limit_mw, health.power_default_mw
    if limit and default and limit < default:
        found.append(
            Finding(WARN, f"the power limit is {limit / 1000:.0f} W, {default / 1000:.0f} W as the card was made")
        )
    if health.persistence is False:
        found.append(Finding(WARN, "persistence mode is off: the first use after a pause waits for the driver"))
    return found


def _company(health: Health) -> list[Finding]:
    if health.mig:
        return [Finding(INVALID, "MIG is on: what is measured is a slice")]
    if health.processes:
        return [Finding(INVALID, f"in use by other processes: {', '.join(map(str, health.processes))}")]
    used, memory = health.used_bytes, health.memory_bytes
    if used and memory and used > BUSY_SHARE * memory:
        if (health.busy_percent or 0) > BUSY_PERCENT:
            told = f"{used / 2**30:.1f} GiB in use and {health.busy_percent} % busy before the run"
            return [Finding(INVALID, f"{told}, by somebody whom this container or user may not see")]
        return [Finding(WARN, f"{used / 2**30:.1f} GiB were in use before the run, by nobody that NVML names")]
    return []
