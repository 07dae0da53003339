"""A price list: what an engine costs and what is paid for tokens. engine_probe itself knows no prices.

Costs are grouped as providers do: fixed ones, which a month costs whatever is served; variable ones, which follow the
work; energy, at its measured amount; and bursts, which begin above a load.
"""

import math
from collections.abc import Iterator
from typing import Annotated

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about
from engine_probe.workload.load import CONCURRENCY, RATE, USERS

HOURS_PER_YEAR = 365.25 * 24
HOURLY = "per_hour, per_month and price (with years)"

NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Pair = Annotated[tuple[Positive, ...], msgspec.Meta(min_length=2, max_length=2)]
Band = Positive | Pair  # a figure, or its low and high end

PerHour = Annotated[NotNegative | None, about("Cost per hour.", 2.5)]
PerMonth = Annotated[NotNegative | None, about("Cost per month.", 521.0)]
Currency = Annotated[str | None, about("Must be that of the list: for lists put together from several.", "EUR")]


def exactly_one(part: msgspec.Struct, names: tuple[str, ...], words: str) -> None:
    """Refuse an item unless exactly one of these keys is given."""
    if sum(getattr(part, name) is not None for name in names) != 1:
        raise InputError(f"give exactly one of {words}")


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fixed cost: per hour or month, or a purchase that is written off evenly over years (straight line)."""

    name: Annotated[str, about("What it is for.", "server")]
    per_hour: PerHour = None
    per_month: PerMonth = None
    price: Annotated[NotNegative | None, about("Purchase price, written off over years.", 30000.0)] = None
    years: Annotated[Positive | None, about("Years over which the price is written off.", 4.0)] = None
    residual: Annotated[NotNegative, about("What the purchase is still worth after those years.", 3000.0)] = 0.0
    share: Annotated[
        float, about("Share of the item that this engine uses, if others use it, too.", 0.1, gt=0, le=1)
    ] = 1.0
    per_card: Annotated[bool, about("Count it once for each GPU of the engine.", True)] = False
    currency: Currency = None

    def hourly(self, hours_per_month: float) -> float:
        if self.per_hour is not None:
            return self.share * self.per_hour
        if self.per_month is not None:
            return self.share * self.per_month / hours_per_month
        assert self.price is not None
        assert self.years is not None
        return self.share * (self.price - self.residual) / (self.years * HOURS_PER_YEAR)

    def check(self) -> None:
        exactly_one(self, ("per_hour", "per_month", "price"), HOURLY)
        if (self.price is None) != (self.years is None):
            raise InputError("give price and years together: the purchase, and over how long it is written off")
        if self.residual and (self.price is None or self.residual > self.price):
            raise InputError(f"residual is {self.residual:g}: give it with a price, and at most that price")


class VariableCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cost that follows the work: give exactly one rate.

    Output tokens are all that the engine made, also of answers that were aborted; requests are all that ended. GiB are
    those of the sizes given here, since what crosses the network is not recorded.
    """

    name: Annotated[str, about("What it is for.", "model licence")]
    per_million_output_tokens: Annotated[NotNegative | None, about("Cost of a million output tokens.", 0.05)] = None
    per_million_input_tokens: Annotated[NotNegative | None, about("Cost of a million prompt tokens.", 0.01)] = None
    per_1000_requests: Annotated[NotNegative | None, about("Cost of 1,000 requests.", 0.1)] = None
    per_kwh: Annotated[
        NotNegative | None, about("Cost beside each kWh of the GPUs and the host, such as water.", 0.01)
    ] = None
    per_gib: Annotated[NotNegative | None, about("Cost of each GiB moved: needs one of the sizes.", 0.09)] = None
    bytes_per_request: Annotated[NotNegative, about("Size of a request and its answer's head.", 2000.0)] = 0.0
    bytes_per_output_token: Annotated[
        NotNegative, about("Size of a streamed token with its event around it.", 250.0)
    ] = 0.0
    bytes_per_input_token: Annotated[NotNegative, about("Size of a prompt token.", 4.5)] = 0.0
    currency: Currency = None

    def check(self) -> None:
        rates = ("per_million_output_tokens", "per_million_input_tokens", "per_1000_requests", "per_kwh", "per_gib")
        exactly_one(self, rates, ", ".join(rates))
        sizes = (self.bytes_per_request, self.bytes_per_output_token, self.bytes_per_input_token)
        if (self.per_gib is not None) != any(sizes):
            raise InputError(
                "give per_gib together with bytes_per_request, bytes_per_output_token or bytes_per_input_token"
            )


class Surge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Extra capacity or staff above a load, which is named as sweeps name theirs."""

    name: Annotated[str, about("What it is for.", "second server")]
    above_concurrency: Annotated[NotNegative | None, about("Above so many concurrent requests.", 64.0)] = None
    above_users: Annotated[NotNegative | None, about("Above so many users.", 200.0)] = None
    above_request_rate: Annotated[NotNegative | None, about("Above so many requests per second.", 10.0)] = None
    each: Annotated[Positive | None, about("Once more for each further load of this size. Left out: once.", 64.0)] = (
        None
    )
    per_hour: PerHour = None
    per_month: PerMonth = None
    currency: Currency = None

    @property
    def above(self) -> tuple[float, str]:
        """Return the load above which it is needed, and the load's unit."""
        named = ((self.above_concurrency, CONCURRENCY), (self.above_users, USERS), (self.above_request_rate, RATE))
        return next((load, unit) for load, unit in named if load is not None)

    def hourly(self, load: float, hours_per_month: float) -> float:
        """Return its cost at a load in its own unit."""
        over = load - self.above[0]
        if over <= 0:
            return 0.0
        count = 1 if self.each is None else math.ceil(over / self.each - 1e-9)
        return count * Cost(self.name, self.per_hour, self.per_month).hourly(hours_per_month)

    def check(self) -> None:
        loads = ("above_concurrency", "above_users", "above_request_rate")
        exactly_one(self, loads, ", ".join(loads))
        exactly_one(self, ("per_hour", "per_month"), "per_hour and per_month")


class Sold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices that customers pay for the tokens of answered requests."""

    per_million_output_tokens: Annotated[NotNegative, about("Price of a million output tokens.", 1.5)] = 0.0
    per_million_input_tokens: Annotated[NotNegative, about("Price of a million prompt tokens.", 0.5)] = 0.0
    per_1000_output_tokens: Annotated[NotNegative, about("The same, of a thousand.", 0.0015)] = 0.0
    per_1000_input_tokens: Annotated[NotNegative, about("The same, of a thousand.", 0.0005)] = 0.0

    @property
    def million_output_tokens(self) -> float:
        return self.per_million_output_tokens or 1000 * self.per_1000_output_tokens

    @property
    def million_input_tokens(self) -> float:
        return self.per_million_input_tokens or 1000 * self.per_1000_input_tokens

    def check(self) -> None:
        for kind in ("output", "input"):
            if getattr(self, f"per_million_{kind}_tokens") and getattr(self, f"per_1000_{kind}_tokens"):
                raise InputError(
                    f"per_million_{kind}_tokens and per_1000_{kind}_tokens are both given: leave one of the two out"
                )


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of energy. The GPUs' energy is measured, and that of the host's CPUs and memory where it can be read.

    host_watts takes the place of what was measured of the host.
    """

    per_kwh: Annotated[NotNegative, about("Price of a kWh.", 0.25)]
    overhead: Annotated[
        float, about("PUE: all power, with cooling and losses, over that of the computers.", 1.3, ge=1)
    ] = 1.0
    host_watts: Annotated[NotNegative, about("Mean power of the whole host without its GPUs.", 400.0)] = 0.0


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often one user asks: at a fixed interval, or after a pause from the last answer."""

    request_every_s: Annotated[Positive | None, about("Seconds from one request to the next.", 40.0)] = None
    think_s: Annotated[NotNegative | None, about("Seconds from an answer to the next request.", 20.0)] = None

    def check(self) -> None:
        if (self.request_every_s is None) == (self.think_s is None):
            raise InputError("give either request_every_s or think_s")


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hardware that could be rented or bought, with what one of it sustains: published, or measured in a recording.

    A figure may be a band: `requests_per_minute = [30, 50]`. Options are compared with those that serve the same.
    """

    name: Annotated[str, about("The offer.", "L40S")]
    serves: Annotated[str, about("What it serves: only options that serve the same are compared.", "70B")] = ""
    per_hour: PerHour = None
    per_month: PerMonth = None
    price: Annotated[Band | None, about("Purchase price, written off over years.", [60000, 80000])] = None
    years: Annotated[Positive | None, about("Years over which the price is written off.", 4.0)] = None
    watts: Annotated[NotNegative, about("Power under load, priced by power.per_kwh.", 4200.0)] = 0.0
    requests_per_minute: Annotated[Band | None, about("Requests that one of it answers in a minute.", [30, 50])] = None
    output_tokens_per_s: Annotated[Band | None, about("Output tokens that one of it makes in a second.", 54000)] = None
    recording: Annotated[
        str | None, about("A run or sweep whose rate it sustains: a folder, relative to the price list.", "runs/l40s")
    ] = None
    latency_s: Annotated[Band | None, about("Seconds that an answer takes at that rate.", [5, 7])] = None
    claimed_cost_ratio: Annotated[
        Positive | None, about("Its cost per token as published, against the first option that serves the same.", 0.4)
    ] = None
    source: Annotated[str, about("Where the figures are from.", "published")] = ""
    doubt: Annotated[str, about("What speaks against them; the report shows it.", "20 to 30 elsewhere")] = ""
    currency: Currency = None

    def check(self) -> None:
        exactly_one(self, ("per_hour", "per_month", "price"), HOURLY)
        if (self.price is None) != (self.years is None):
            raise InputError("give price and years together: the purchase, and over how long it is written off")
        rates = ("requests_per_minute", "output_tokens_per_s", "recording")
        given = [name for name in rates if getattr(self, name) is not None]
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} are both given: leave one of the two out")
        for name in ("price", "requests_per_minute", "output_tokens_per_s", "latency_s"):
            found = getattr(self, name)
            if isinstance(found, tuple) and found[0] > found[1]:
                raise InputError(f"{name} is [{found[0]:g}, {found[1]:g}]: give the lower end first")


class Upgrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule when to go over to an option, held against a demand; each condition alone is enough."""

    to: Annotated[str, about("The option that the rule is about.", "L40S")]
    above_requests_per_minute: Annotated[Positive | None, about("At more requests than this.", 20.0)] = None
    from_users: Annotated[Positive | None, about("From so many users at once.", 5.0)] = None
    below_latency_s: Annotated[Positive | None, about("Where answers must take less than this.", 5.0)] = None
    not_below_requests_per_minute: Annotated[
        Positive | None, about("Below so many requests it is not needed.", 10.0)
    ] = None
    source: Annotated[str, about("Whose rule it is.", "published")] = ""
    doubt: Annotated[str, about("What speaks against it.", "30 in another place")] = ""

    def check(self) -> None:
        conditions = ("above_requests_per_minute", "from_users", "below_latency_s")
        if all(getattr(self, name) is None for name in conditions):
            raise InputError(f"give a condition: {', '.join(conditions)} or several")


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every sum is in one currency, since exchange rates are not known here."""

    currency: Annotated[str, about("The currency of all sums.", "EUR")]
    source: Annotated[str, about("Where the figures are from; the report shows it.", "offer of May 2026")] = ""
    hours_per_month: Annotated[Positive, about("Hours by which a month is turned into an hour.", 744.0)] = (
        HOURS_PER_YEAR / 12
    )
    sold: Annotated[Sold, about("What customers pay.")] = Sold()
    fixed: Annotated[list[Cost], about("Costs whatever is served.")] = []
    variable: Annotated[list[VariableCost], about("Costs that follow the work.")] = []
    power: Annotated[Power | None, about("The price of energy.")] = None
    burst: Annotated[list[Surge], about("Costs that begin above a load.")] = []
    users: Annotated[Users | None, about("How often a user asks.")] = None
    options: Annotated[list[Option], about("Hardware that could be rented or bought.")] = []
    upgrade: Annotated[list[Upgrade], about("Rules when to go over to an option.")] = []

    def check(self) -> None:
        """Refuse what the types alone allow, naming its place."""
        for place, part in self._parts():
            for field in part.__struct_fields__:
                value = getattr(part, field)
                for number in value if isinstance(value, tuple) else (value,):
                    if isinstance(number, float) and not math.isfinite(number):
                        raise InputError(f"{place}{field} is {number}: give a number")
            if isinstance(part, Cost | VariableCost | Surge | Sold | Option | Upgrade | Users):
                try:
                    part.check()
                except InputError as error:
                    raise InputError(f"{place.rstrip('.')}: {error}") from error
            if isinstance(part, Cost | VariableCost | Surge | Option) and part.currency not in (None, self.currency):
                raise InputError(
                    f"{place}currency is {part.currency} and that of the list {self.currency}: give all prices in one "
                    "currency, since exchange rates are not known here"
                )
        for kind in ("fixed", "variable", "burst"):
            self._check_names(kind, [item.name for item in getattr(self, kind)])
        for serves in dict.fromkeys(option.serves for option in self.options):
            self._check_names("options", [option.name for option in self.options if option.serves == serves])
        for number, rule in enumerate(self.upgrade):
            if rule.to not in [option.name for option in self.options]:
                raise InputError(f"upgrade[{number}].to is {rule.to!r}: give the name of one of the options")

    def _check_names(self, kind: str, names: list[str]) -> None:
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"{kind}: {twice[0]} is listed twice: give each a name of its own")

    def _parts(self) -> Iterator[tuple[str, msgspec.Struct]]:
        yield "", self
        for name in ("sold", "power", "users"):
            if (part := getattr(self, name)) is not None:
                yield f"{name}.", part
        for name in ("fixed", "variable", "burst", "options", "upgrade"):
            yield from ((f"{name}[{number}].", part) for number, part in enumerate(getattr(self, name)))

    @property
    def needs_energy(self) -> bool:
        """Return whether some cost follows the energy of the GPUs."""
        return self.power is not None or any(item.per_kwh is not None for item in self.variable)


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": Prices,
    "sold": Sold,
    "fixed[]": Cost,
    "variable[]": VariableCost,
    "power": Power,
    "burst[]": Surge,
    "users": Users,
    "options[]": Option,
    "upgrade[]": Upgrade,
}
