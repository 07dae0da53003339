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
Count = Annotated[int, msgspec.Meta(ge=1)]

PerHour = Annotated[NotNegative | None, about("Cost per hour.", 2.5)]
PerMonth = Annotated[NotNegative | None, about("Cost per month.", 521.0)]
Currency = Annotated[str | None, about("Only to be checked: must be that of the list.", "EUR")]


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


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
        named = (
            (self.above_concurrency, CONCURRENCY),
            (self.above_users, USERS),
            (self.above_request_rate, RATE),
        )
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
    """The price of energy. The GPUs' energy is measured; the host's is not recorded, so it is given or left out."""

    per_kwh: Annotated[NotNegative, about("Price of a kWh.", 0.25)]
    overhead: Annotated[
        float, about("PUE: all power, with cooling and losses, over that of the computers.", 1.3, ge=1)
    ] = 1.0
    host_watts: Annotated[NotNegative, about("Mean power of the host without its GPUs.", 400.0)] = 0.0


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often one user asks: at a fixed interval, or after a pause from the last answer."""

    request_every_s: Annotated[Positive | None, about("Seconds from one request to the next.", 40.0)] = None
    think_s: Annotated[NotNegative | None, about("Seconds from an answer to the next request.", 20.0)] = None

    def check(self) -> None:
        if (self.request_every_s is None) == (self.think_s is None):
            raise InputError("give either request_every_s or think_s")


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An offer to rent, with the request rate that it sustains: given, or measured in a run or sweep."""

    name: Annotated[str, about("The offer.", "L40S")]
    per_hour: PerHour = None
    per_month: PerMonth = None
    requests_per_minute: Annotated[Positive | None, about("Requests that one of it answers in a minute.", 20.0)] = None
    recording: Annotated[
        str | None, about("A run or sweep whose rate it sustains: a folder, relative to the price list.", "runs/l40s")
    ] = None
    source: Annotated[str, about("Where the figures are from.", "published")] = ""
    currency: Currency = None

    @property
    def cost(self) -> Cost:
        return Cost(self.name, self.per_hour, self.per_month)

    def check(self) -> None:
        if (self.per_hour is None) == (self.per_month is None):
            raise InputError("give either per_hour or per_month")
        if self.requests_per_minute is not None and self.recording is not None:
            raise InputError("requests_per_minute and recording are both given: leave one of the two out")


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list itself. Every sum is in its one currency, since exchange rates are not known here."""

    currency: Annotated[str, about("The currency of all sums.", "EUR")]
    source: Annotated[str, about("Where the figures are from; the report shows it.", "offer of May 2026")] = ""
    hours_per_month: Annotated[Positive, about("Hours by which a month is turned into an hour.", 744.0)] = (
        HOURS_PER_YEAR / 12
    )
    sold: Annotated[Sold, about("What customers pay.")] = Sold()
    fixed: Annotated[list[Cost], about("Costs whatever is served.")] = []
    variable: Annotated[list[VariableCost], about("Costs that follow the work.")] = []
    power: Annotated[Power | None, about("The price of energy.")] = None
    burst: Annotated[list[Burst], about("Costs that begin above a load.")] = []
    users: Annotated[Users | None, about("How often a user asks.")] = None
    options: Annotated[list[Option], about("Hardware that could be rented.")] = []

    def check(self) -> None:
        """Refuse what the types alone allow, naming its place."""
        for place, part in self._parts():
            for field in part.__struct_fields__:
                value = getattr(part, field)
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"{place}{field} is {value}: give a number")
            if isinstance(part, Cost | VariableCost | Burst | Sold | Option | Users):
                try:
                    part.check()
                except InputError as error:
                    raise InputError(f"{place.rstrip('.')}: {error}") from error
            if isinstance(part, Cost | VariableCost | Burst | Option) and part.currency not in (None, self.currency):
                raise InputError(
                    f"{place}currency is {part.currency} and that of the list {self.currency}: give all prices in one "
                    "currency, since exchange rates are not known here"
                )
        for kind in ("options", "fixed", "variable", "burst"):
            names = [item.name for item in getattr(self, kind)]
            if twice := [name for name in names if names.count(name) > 1]:
                raise InputError(f"{kind}: {twice[0]} is listed twice: give each a name of its own")

    def _parts(self) -> Iterator[tuple[str, msgspec.Struct]]:
        yield "", self
        for name in ("sold", "power", "users"):
            if (part := getattr(self, name)) is not None:
                yield f"{name}.", part
        for name in ("fixed", "variable", "burst", "options"):
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
    "burst[]": Burst,
    "users": Users,
    "options[]": Option,
}
