"""The campaign of planted faults knows the probe's functions by name: a renamed one is noticed before it is run."""

from tests.hostile.faults import NOT_ATTACKED, places


def test_the_hot_path_is_attacked_and_every_function_that_is_spared_exists() -> None:
    labels = {place.label for place in places()}  # raises for a name that is not there
    assert {"hook.workers.step_rows.WorkerHook._drain", "hook.scheduler.SchedulerHook.audit"} <= labels
    assert labels.isdisjoint(name for names in NOT_ATTACKED.values() for name in names)
