"""A price list: what an engine costs and what is paid for tokens. engine_probe itself knows no prices."""

import math
from collections.abc import Iterator
from typing import Annotated

import msgspec

from engine_probe.errors import InputError

HOURS_PER_YEAR = 365.25 * 24

NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cost per hour or month, or a purchase written off evenly over years."""

    name: str
    per_hour: NotNegative | None = None
    per_month: NotNegative | None = None
    price: NotNegative | None = None
    years: Positive | None = None  # of `price`
    per_card: bool = False  # counted for each GPU of the engine
    currency: str | None = None

    def hourly(self, hours_per_month: float) -> float:
        if self.per_hour is not None:
            return self.per_hour
        if self.per_month is not None:
            return self.per_month / hours_per_month
        assert self.price is not None
        assert self.years is not None
        return self.price / (self.years * HOURS_PER_YEAR)

    def check(self) -> None:
        given = [each for each in (self.per_hour, self.per_month, self.price) if each is not None]
        if len(given) != 1:
            raise InputError("give exactly one of per_hour, per_month and price (with years)")
        if (self.price is None) != (self.years is None):
            raise InputError("give price and years together: the purchase, and over how long it is written off")


class Sold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices that customers pay."""

    per_million_output_tokens: NotNegative = 0.0
    per_million_input_tokens: NotNegative = 0.0


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of energy. The GPUs' energy is measured; the host's is not recorded, so it is given or left out."""

    per_kwh: NotNegative
    overhead: Annotated[float, msgspec.Meta(ge=1)] = 1.0  # PUE: all power, cooling and losses included / IT power
    host_watts: NotNegative = 0.0


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often one user asks: at a fixed interval, or after a pause from the last answer."""

    request_every_s: Positive | None = None
    think_s: NotNegative | None = None

    def check(self) -> None:
        if (self.request_every_s is None) == (self.think_s is None):
            raise InputError("give either request_every_s or think_s")


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An offer to rent, with the request rate that it sustains: given, or measured in a run or sweep."""

    name: str
    per_hour: NotNegative | None = None
    per_month: NotNegative | None = None
    requests_per_minute: Positive | None = None
    recording: str | None = None  # a folder, relative to the price list
    source: str = ""
    currency: str | None = None

    @property
    def cost(self) -> Cost:
        return Cost(self.name, self.per_hour, self.per_month)

    def check(self) -> None:
        if (self.per_hour is None) == (self.per_month is None):
            raise InputError("give either per_hour or per_month")
        if self.requests_per_minute is not None and self.recording is not None:
            raise InputError("requests_per_minute and recording are both given: leave one of the two out")


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    currency: str
    source: str = ""  # of the figures
    sold: Sold = Sold()
    fixed: list[Cost] = []
    power: Power | None = None
    users: Users | None = None
    options: list[Option] = []
    hours_per_month: Positive = HOURS_PER_YEAR / 12

    def check(self) -> None:
        """Refuse what the types alone allow, naming its place."""
        for place, part in self._parts():
            for field in part.__struct_fields__:
                value = getattr(part, field)
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"{place}{field} is {value}: give a number")
            if isinstance(part, Cost | Option | Users):
                try:
                    part.check()
                except InputError as error:
                    raise InputError(f"{place.rstrip('.')}: {error}") from error
            if isinstance(part, Cost | Option) and part.currency not in (None, self.currency):
                raise InputError(
                    f"{place}currency is {part.currency} and that of the list {self.currency}: give all prices in one "
                    "currency, since exchange rates are not known here"
                )
        names = [option.name for option in self.options]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"options: {twice[0]} is listed twice: give each a name of its own")

    def _parts(self) -> Iterator[tuple[str, msgspec.Struct]]:
        yield "", self
        for name in ("sold", "power", "users"):
            if (part := getattr(self, name)) is not None:
                yield f"{name}.", part
        for name in ("fixed", "options"):
            yield from ((f"{name}[{number}].", part) for number, part in enumerate(getattr(self, name)))

    @property
    def whole(self) -> bool:
        """Return whether the list gives any cost of an engine."""
        return bool(self.fixed) or self.power is not None


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": Prices,
    "sold": Sold,
    "power": Power,
    "users": Users,
    "fixed[]": Cost,
    "options[]": Option,
}
