"""Rows and notes: every row comes out once, in order and unchanged."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from engine_probe.record.recorder import READINGS, Recorder, take_rows, take_until
from tests.support.recordings.recorder_rows import note, raw

CALLED = READINGS.index("called_ns")


def taken(recorder: Recorder, most: int) -> list[int]:
    return [int(row[CALLED]) for row in recorder.take_iterations(most)]


def test_rows_come_out_once_and_in_order() -> None:
    recorder = Recorder()
    recorder.iterations.extend(raw(called_ns=number) for number in range(5))
    assert taken(recorder, 3) == [0, 1, 2]
    assert taken(recorder, 3) == [3, 4]
    assert taken(recorder, 3) == []
    assert recorder.taken == 5


def test_whoever_follows_gets_all_that_is_taken() -> None:
    recorder = Recorder()
    follower: deque[Any] = deque()
    recorder.followers.append(follower)
    recorder.iterations.extend(raw(called_ns=number) for number in range(5))
    assert [taken(recorder, 2), taken(recorder, 9), taken(recorder, 9)] == [[0, 1], [2, 3, 4], []]
    assert [rows[:, CALLED].tolist() for rows in follower] == [[0, 1], [2, 3, 4], []]


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
