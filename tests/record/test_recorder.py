"""The ring and the notes: every row comes out once, in order and unchanged."""

from __future__ import annotations

import threading
from collections import deque

from engine_probe.record.recorder import READINGS, RING_ROWS, Recorder, take_rows, take_until
from tests.support.recorder_rows import append, note, raw

CALLED = READINGS.index("called_ns")


def taken(recorder: Recorder, most: int) -> list[int]:
    return [int(row[CALLED]) for row in recorder.take_iterations(most)]


def test_rows_come_out_once_and_in_order() -> None:
    recorder = Recorder()
    for number in range(5):
        append(recorder, raw(called_ns=number))
    assert taken(recorder, 3) == [0, 1, 2]
    assert taken(recorder, 3) == [3, 4]
    assert taken(recorder, 3) == []
    assert (recorder.appended, recorder.taken) == (5, 5)


def test_the_ring_wraps_within_a_take() -> None:
    recorder = Recorder()
    for number in range(RING_ROWS - 2):
        append(recorder, raw(called_ns=number))
    assert len(taken(recorder, RING_ROWS)) == RING_ROWS - 2
    for number in range(RING_ROWS - 2, RING_ROWS + 3):
        append(recorder, raw(called_ns=number))
    assert taken(recorder, 100) == list(range(RING_ROWS - 2, RING_ROWS + 3))


def test_what_was_taken_does_not_change_when_its_place_is_used_again() -> None:
    recorder = Recorder()
    append(recorder, raw(called_ns=1))
    rows = recorder.take_iterations(1)
    for _ in range(RING_ROWS):
        append(recorder, raw(called_ns=2))
    assert rows[0, CALLED] == 1


def test_a_full_ring_comes_out_whole() -> None:
    recorder = Recorder()
    for number in range(RING_ROWS):
        append(recorder, raw(called_ns=number))
    assert taken(recorder, 2 * RING_ROWS) == list(range(RING_ROWS))


def test_notes_wait_for_their_iteration() -> None:
    notes = deque([note(0), note(4), note(5), note(9)])
    assert [taken[0] for taken in take_until(notes, 5)] == [0, 4]
    assert [taken[0] for taken in take_until(notes, 5)] == []
    assert [taken[0] for taken in take_until(notes, 100)] == [5, 9]
    assert not notes


def test_finished_rows_are_taken_while_others_arrive() -> None:
    rows: deque[tuple[int, ...]] = deque()
    done = threading.Event()

    def arrive() -> None:
        for number in range(20_000):
            rows.append((number,))
        done.set()

    arriving = threading.Thread(target=arrive)
    arriving.start()
    found = []
    while not done.is_set():
        found += take_rows(rows, 100)
    arriving.join()
    found += take_rows(rows, 20_000)
    assert found == [(number,) for number in range(20_000)]
