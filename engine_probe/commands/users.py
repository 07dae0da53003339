"""`engine_probe users`: converts users to concurrent requests, and back."""

import click

from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.errors import InputError
from kernels_bench.options import Number

POSITIVE = Number(min=0, min_open=True)
load, habit = under("Load"), under("Users")


@click.command("users", cls=GroupedCommand, epilog="Example: engine_probe users 100 --every 40 --answer 20")
@click.argument("users", required=False, metavar="[USERS]", type=POSITIVE)
@load("--concurrency", type=POSITIVE, help="Show how many users cause this many concurrent requests.")
@load("--answer", type=POSITIVE, required=True, help="Mean seconds that an answer takes at that load (E2EL).")
@habit("--every", type=POSITIVE, help="Seconds from one request of a user to the next.")
@habit("--think", type=Number(min=0), help="Seconds from an answer to the same user's next request.")
def command(
    users: float | None, concurrency: float | None, answer: float, every: float | None, think: float | None
) -> None:
    """Convert users to concurrent requests, or with --concurrency back.

    By Little's law: requests in flight = users x answer time / time from one request of a user to the next. Answers
    take longer under load: use the time measured near the load that comes out, as a sweep's report does for each level.
    """
    from engine_probe.analysis.money.user_habit import Habit

    if (users is None) == (concurrency is None):
        raise InputError("give either a number of users, or --concurrency")
    if (every is None) == (think is None):
        raise InputError("give either --every or --think: how often a user asks")
    asks = Habit(every or 0.0, think)
    cycle = asks.cycle_seconds(answer)
    if users is not None:
        line = f"{users:g} users hold {asks.in_flight(users, answer):,.4g} requests in flight on average"
        click.echo(f"{line}: {users:g} x {answer:g} s / {cycle:g} s (Little's law).")
    else:
        assert concurrency is not None
        line = (
            f"{concurrency:g} requests in flight are those of {asks.users(concurrency, answer):,.4g} users on average"
        )
        click.echo(f"{line}: {concurrency:g} x {cycle:g} s / {answer:g} s (Little's law).")
    click.echo(f"Each waits {answer / cycle:.0%} of the time, {answer:g} of {cycle:g} s from one request to the next.")
    if every is not None and every < answer:
        click.echo(f"An answer takes longer than {every:g} s: a user asks again only after it, and always waits.")
