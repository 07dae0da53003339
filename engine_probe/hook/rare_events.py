"""Hooks on rare events, and what they leave for the hot path, which looks at it once per step."""

from collections.abc import Callable
from time import monotonic_ns as now
from typing import Any, NamedTuple

from engine_probe.hook.patches import Patches


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
        "changed", "fail", "iteration", "left_core_ns", "note_due", "probe_ns", "scheduled_tokens", "updated",
        "updated_ns", "updating", "waiting",
    )  # fmt: skip

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__()
        self.fail = on_failure
        self.changed = True  # an event happened since the last note: the next iteration needs one
        self.waiting = False  # a request was queued at the last note, or schedule() has looked at one since
        self.scheduled_tokens = 0  # at the last note
        self.iteration = 0  # the number of the next schedule()
        self.updated, self.updated_ns = -1, 0  # the last iteration whose update returned, and when
        self.updating: int | None = None  # the iteration of the update that vLLM is in; None between updates
        self.note_due = False  # the update has more to note than the number of its outputs
        self.probe_ns = 0  # time the probe spent since the last row
        self.left_core_ns = now()  # when the last schedule() or update_from_output() returned

    def hook(
        self,
        target: Any,
        name: str,
        note: Callable[[Call], object] | None = None,
        read: Callable[..., Any] | None = None,
    ) -> Callable[..., Any]:
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
