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


class RareEvents:
    """Is shared by the counters of one attachment."""

    def __init__(self, patches: Patches, on_failure: Callable[[BaseException], None]) -> None:
        self.patches, self.fail = patches, on_failure
        self.changed = True  # an event happened since the last note: the next iteration needs one
        self.probe_ns = 0  # time the probe spent on events since the last row
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
        call, patches = getattr(target, name), self.patches

        def replacement(*args: Any, **kwargs: Any) -> Any:
            if not patches.active:
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

        return patches.replace(target, name, replacement)
