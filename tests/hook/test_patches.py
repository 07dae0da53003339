"""Methods replaced on an instance are put back, in any order, also by a second call."""

from __future__ import annotations

from engine_probe.hook.patches import Patches


class Target:
    def method(self) -> str:
        return "original"


def test_undo_puts_the_method_back_and_can_be_called_twice() -> None:
    target, patches = Target(), Patches()
    patches.replace(target, "method", lambda: "replaced")
    assert target.method() == "replaced"
    patches.undo()
    patches.undo()
    assert target.method() == "original"
    assert vars(target) == {}


def test_a_method_that_others_have_wrapped_stays_until_they_have_undone_theirs() -> None:
    """A failure may detach the hook while its scheduler's methods are gated for the audit."""
    target, patches, gates = Target(), Patches(), Patches()
    patches.replace(target, "method", lambda: "replaced")
    gates.replace(target, "method", lambda: "gated")
    patches.undo()
    assert target.method() == "gated"
    gates.undo()
    patches.undo()
    assert vars(target) == {}
