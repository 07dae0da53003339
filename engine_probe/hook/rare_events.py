"""Hooks on rare events, and what they leave for the hot path, which looks at it once per step."""

from collections import deque
from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any, NamedTuple

from engine_probe.hook.patches import Patches
from engine_probe.record.recorder import READINGS

Method = Callable[..., Any]
NUMBER, UPDATE_RETURNED = READINGS.index("iteration"), READINGS.index("update_returned_ns")


class Call(NamedTuple):
    """A call of one of vLLM's methods that has returned, and what was read before it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    before: Any
    called_ns: int
    returned_ns: int
    result: Any


class RareEvents(Patches):
    """Is shared by the counters of one attachment, and holds all that the hot path reads, in a few cache lines."""

    __slots__ = (
        "changed", "fail", "last_row", "left_core_ns", "note_due", "pending", "probe_ns", "scheduled_tokens",
        "updating", "waiting",
    )  # fmt: skip

    def __init__(self, on_failure: Callable[[BaseException], None], last_row: Callable[[], tuple[int, ...]]) -> None:
        super().__init__()
        self.fail, self.last_row = on_failure, last_row  # the latter of the last iteration whose update returned
        self.changed = True  # an event happened since the last note: the next iteration needs one
        self.waiting = False  # a request was queued at the last note, or schedule() has looked at one since
        self.scheduled_tokens = 0  # at the last note
        self.pending: deque[tuple[Any, int, int, int, int, int, int]] = deque()  # scheduled, not updated yet
        self.updating: int | None = None  # the iteration of the update that vLLM is in; None between updates
        self.note_due = False  # the update has more to note than the number of its outputs
        self.probe_ns = 0  # time the probe spent on events since the last row
        self.left_core_ns = now()  # when the last schedule() or update_from_output() returned

    @property
    def iteration(self) -> int:  # of the next schedule()
        return 1 + (self.pending[-1][1] if self.pending else self.updated)

    @property
    def updated(self) -> int:  # the last iteration whose update returned
        return self.last_row()[NUMBER]

    def hook(self, target: Any, name: str, note: Method | None = None, read: Method | None = None) -> Method:
        """Replace a method of vLLM: `read` gets its arguments before each call, `note` the call. Return the original.

        Their errors end the recording and never reach vLLM.
        """
        call = getattr(target, name)

        def replacement(*args: Any, **kwargs: Any) -> Any:
            if not self.active:
                return call(*args, **kwargs)
            began = now()
            try:
                before = read and read(*args, **kwargs)
            except Exception as error:
                self.fail(error)
                return call(*args, **kwargs)
            called = now()
            result = call(*args, **kwargs)
            returned = now()
            try:
                if note is not None:
                    note(Call(args, kwargs, before, called, returned, result))
                self.probe_ns += now() - returned + called - began
            except Exception as error:
                self.fail(error)
            return result

        return self.replace(target, name, replacement)
