"""What things cost and what is paid for tokens, as somebody says it: no price is known here."""

from __future__ import annotations

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
    """One item: so much per hour or month, or a purchase written off evenly over years."""

    name: str
    per_hour: NotNegative | None = None
    per_month: NotNegative | None = None
    price: NotNegative | None = None
    years: Positive | None = None  # of `price`
    per_card: bool = False  # once for each card of the engine
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
            raise InputError("price and years belong together: what it was bought for, and how long it lasts")


class Sold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What customers pay."""

    per_million_output_tokens: NotNegative = 0.0
    per_million_input_tokens: NotNegative = 0.0


class Power(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What energy costs. The cards' is measured; nothing records the host's, so it is named or left out."""

    per_kwh: NotNegative
    overhead: Annotated[float, msgspec.Meta(ge=1)] = 1.0  # cooling and losses: all power / that of cards and host (PUE)
    host_watts: NotNegative = 0.0


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often one user asks: a request each so many seconds, or so long after the answer to the one before."""

    request_every_s: Positive | None = None
    think_s: NotNegative | None = None

    def check(self) -> None:
        if (self.request_every_s is None) == (self.think_s is None):
            raise InputError("give either request_every_s or think_s")


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something to rent or buy instead, with what it sustains: told, or measured in a run or sweep."""

    name: str
    per_hour: NotNegative | None = None
    per_month: NotNegative | None = None
    requests_per_minute: Positive | None = None
    recording: str | None = None  # a folder, seen from the price list
    source: str = ""
    currency: str | None = None

    @property
    def cost(self) -> Cost:
        return Cost(self.name, self.per_hour, self.per_month)

    def check(self) -> None:
        if (self.per_hour is None) == (self.per_month is None):
            raise InputError("give either per_hour or per_month")
        if self.requests_per_minute is not None and self.recording is not None:
            raise InputError("requests_per_minute is told and a recording named: leave one of the two out")


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    currency: str
    source: str = ""  # where the figures are from
    sold: Sold = Sold()
    fixed: list[Cost] = []
    power: Power | None = None
    users: Users | None = None
    options: list[Option] = []
    hours_per_month: Positive = HOURS_PER_YEAR / 12

    def check(self) -> None:
        """Everything that types alone do not refuse, with its place."""
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
                    f"{place}currency is {part.currency} and that of the list {self.currency}: put all into one "
                    "currency, no exchange rate is known here"
                )
        names = [option.name for option in self.options]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InputError(f"options: {twice[0]} is there twice: give each a name of its own")

    def _parts(self) -> Iterator[tuple[str, msgspec.Struct]]:
        yield "", self
        for name in ("sold", "power", "users"):
            if (part := getattr(self, name)) is not None:
                yield f"{name}.", part
        for name in ("fixed", "options"):
            yield from ((f"{name}[{number}].", part) for number, part in enumerate(getattr(self, name)))

    @property
    def whole(self) -> bool:
        """Whether anything is said of what an engine costs."""
        return bool(self.fixed) or self.power is not None


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": Prices,
    "sold": Sold,
    "power": Power,
    "users": Users,
    "fixed[]": Cost,
    "options[]": Option,
}
