"""The same product repeated for a minute: the rate that the device sustains once it is warm.

The samples hold the rate over time, round by round; the report's curve holds power, temperature and clock.
"""

from kernels_bench.benchmarks.context import Bench, Findings
from kernels_bench.benchmarks.matmul import SQUARE, check_product, cpu_side
from kernels_bench.benchmarks.number_formats import PRECISIONS, matmul_setting, operand_bytes, operands
from kernels_bench.results import INVALID, Detail, Samples, Skipped
from kernels_bench.timing.measure import Call, agree, centre, rate

QUICK_S, FULL_S = 5.0, 60.0
ROUND_S = 0.5
ORDER = tuple(precision for name in ("bf16", "fp16", "fp32") for precision in PRECISIONS if precision.name == name)


def run(bench: Bench) -> Findings:
    precision = next(choice for choice in ORDER if not choice.runs_on(bench.device, bench.capability()))
    side = SQUARE if bench.device.is_cuda else cpu_side(bench, precision)
    if operand_bytes(precision, side, side, side) > bench.usable_bytes():
        yield Skipped("sustained", "rate", f"a product of {side}³ does not fit into the free memory", verdict=INVALID)
        return
    seconds = QUICK_S if bench.quick else FULL_S
    name = f"{precision.name} {seconds:.0f} s"
    if (left_s := max(0.0, bench.left_s)) < seconds:
        reason = f"left out: {left_s:.1f} s of the minute of --quick were left"
        yield Skipped("sustained", name, reason, out_of_time=True)
        return
    bench.say(name)
    with matmul_setting(precision):
        data = operands(precision, side, side, side, bench.torch_device)
        rounds = _rounds(bench, data.multiply, seconds)
    last = rounds[len(rounds) // 2 :]
    median_ns, iqr_ns = centre(last)
    samples = Samples(tuple(rounds), 1, 0, True, agree(last, bench.effort.tolerance), median_ns, iqr_ns)
    detail: Detail = {"m": side, "n": side, "k": side}
    detail["first_round_over_last"] = centre(rounds[:1])[0] / centre(rounds[-1:])[0]
    yield rate("sustained", name, precision.unit, 2 * side**3, samples, check_product(data), detail)


def _rounds(bench: Bench, multiply: Call, seconds: float) -> list[tuple[float, ...]]:
    first_ns = max(bench.clock.time_ns((multiply,), 3, False))
    count = max(3, int(ROUND_S * 1e9 / first_ns))
    rounds: list[tuple[float, ...]] = []
    started_ns = bench.clock.now_ns()
    while not rounds or bench.clock.now_ns() - started_ns < seconds * 1e9:
        rounds.append(tuple(bench.clock.time_ns((multiply,), count, False)))
    return rounds
