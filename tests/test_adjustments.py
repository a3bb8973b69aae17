"""Tests of kerasbn.adjustments: what is asked for is taken once, in order, whatever is killed or damaged meanwhile."""

import json
import threading
import time

import filelock
import pytest

from kerasbn.adjustments import Adjustments, Record, asking, find_run, in_force, is_running, read_records, request
from kerasbn.adjustments import taking as taking_module
from kerasbn.checks import InputError, TaskError
from kerasbn.config import Change


def make_run(path, status=None):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("format: 1\n")
    if status is not None:
        (path / "metrics.json").write_text(json.dumps({"status": status}))
    return path


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "runs" / "a" / "20260101-000000")


@pytest.fixture
def held(run):
    """The run while a process trains it."""
    with filelock.FileLock(run / "lock"):
        yield run


class Trains:
    """A thread that takes what is asked for, as a training process does between its steps."""

    def __init__(self, run, refused=None):
        self.taking, self.refused, self.end = Adjustments(run), refused, threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        step = 0
        while not self.end.is_set():
            for asked in self.taking.poll():
                self.taking.take(asked, step, 1 + step // 10, {}, {}, self.refused)
            step += 1
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()


def requests_in(run):
    return sorted((run / "requests").glob("*"))


def test_a_change_is_taken_and_answered(held):
    with Trains(held):
        record = request(held, Change(learning_rate=0.003, momentum=0.0))
    assert record.change == Change(learning_rate=0.003, momentum=0.0)
    assert record.epoch == 1 + record.step // 10
    assert read_records(held) == [record]
    assert requests_in(held) == []
    line = json.loads((held / "adjustments.jsonl").read_text())
    assert line == {"id": record.id, "time": record.time, "step": record.step, "epoch": record.epoch,
                    "learning_rate": 0.003, "momentum": 0.0}  # fmt: skip
    assert str(record) == f"after step {record.step}, in epoch {record.epoch}: learning_rate 0.003, momentum 0"


def test_what_is_refused_changes_nothing_and_says_why(held):
    why = "dropout: expected a model with dropout; received one without."
    with Trains(held, refused=why), pytest.raises(InputError, match=why):
        request(held, Change(dropout=0.5))
    (record,) = read_records(held)
    assert record.refused == why
    assert in_force([record]) == []
    assert requests_in(held) == []


def test_without_a_process_it_is_noted_and_keeps_its_order(run):
    assert request(run, Change(learning_rate=0.1)) is None
    assert request(run, Change(undo=True)) is None
    assert request(run, Change(stop=True)) is None
    asked = Adjustments(run).poll()
    assert [one.change.given() for one in asked] == [{"learning_rate": 0.1}, {"undo": True}, {"stop": True}]
    assert read_records(run) == []


def test_a_process_that_is_busy_takes_it_later(held):
    begun = time.monotonic()
    assert request(held, Change(stop=True), seconds=0.1) is None
    assert time.monotonic() - begun < 5
    assert len(Adjustments(held).poll()) == 1


def test_a_run_that_ends_meanwhile(run, monkeypatch):
    lock = filelock.FileLock(run / "lock")
    lock.acquire()

    def end(seconds):
        (run / "metrics.json").write_text('{"status": "complete"}')
        lock.release()

    monkeypatch.setattr(asking.time, "sleep", end)
    with pytest.raises(InputError, match=r"run: expected a run that is not complete; received .*, which is\."):
        request(run, Change(stop=True))
    assert requests_in(run) == []


def test_a_kill_after_the_record_does_not_double_it(run):
    request(run, Change(momentum=0.8))
    taking = Adjustments(run)
    (asked,) = taking.poll()
    text = asked.path.read_text()
    record = taking.take(asked, 30, 2, {"momentum": None}, {"momentum": 0.8})
    asked.path.write_text(text)  # as if it was killed before the request went away
    again = Adjustments(run)
    assert again.records == [record]
    assert again.poll() == []
    assert requests_in(run) == []


def test_a_kill_in_the_middle_of_the_record_does_not_lose_it(run):
    request(run, Change(momentum=0.8))
    (run / "adjustments.jsonl").write_bytes(
        b'{"id": "a", "time": "t", "step": 3, "epoch": 1, "learning_rate": 0.5}\n{"id": "b'
    )
    taking = Adjustments(run)
    assert [record.step for record in taking.records] == [3]
    (asked,) = taking.poll()
    taking.take(asked, 30, 2)
    lines = (run / "adjustments.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 30]
    assert [record.id for record in read_records(run)] == ["a", asked.id]


def test_a_full_disk_leaves_the_request(run, monkeypatch):
    request(run, Change(stop=True))
    taking = Adjustments(run)
    (asked,) = taking.poll()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(taking_module.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            taking.take(asked, 1, 1)
    assert [one.id for one in taking.poll()] == [asked.id]
    assert read_records(run) == taking.records == []
    assert taking.take(asked, 2, 1).step == 2
    assert [record.step for record in read_records(run)] == [2]


def test_numbers_come_back_to_the_bit(run):
    request(run, Change(learning_rate=0.1 + 0.2))
    taking = Adjustments(run)
    (asked,) = taking.poll()
    record = taking.take(asked, 7, 1, {"multiplier": 1 / 3}, {"multiplier": 2e-7 / 3})
    (back,) = read_records(run)
    assert back == record
    assert (back.change.learning_rate, back.before, back.after) == (0.1 + 0.2, {"multiplier": 1 / 3},
                                                                    {"multiplier": 2e-7 / 3})  # fmt: skip


def test_what_is_in_force():
    def record(step, change, refused=None):
        return Record(str(step), "t", step, 1, change, refused=refused)

    first, second = record(1, Change(learning_rate=0.1)), record(2, Change(momentum=0.5))
    refused = record(3, Change(dropout=0.1), refused="no")
    undo = [record(step, Change(undo=True)) for step in (4, 5)]
    stop = record(6, Change(stop=True))
    third = record(7, Change(learning_rate=0.2))
    assert in_force([first, second, refused]) == [first, second]
    assert in_force([first, second, refused, undo[0]]) == [first]
    assert in_force([first, second, refused, *undo]) == []
    assert in_force([first, second, undo[0], stop, third]) == [first, third]


def test_what_is_no_request_goes_away_and_its_author_is_told(held):
    (held / "requests").mkdir()
    (held / "requests" / "1-a.json").write_text("{")
    (held / "requests" / "2-b.json").write_text('{"id": "b", "batch_size": 3}')  # of a newer version
    (held / "requests" / "3-c.json").write_text('["id"]')
    (held / "requests" / ".tmp-01234567-4-d.json").write_text("{")  # is being written
    taking = Adjustments(held)
    assert taking.poll() == []
    assert [path.name for path in requests_in(held)] == [".tmp-01234567-4-d.json"]
    path = held / "requests" / "5-e.json"
    with pytest.raises(TaskError, match="does not understand this change"):
        asking._answer(held, path.stem)


@pytest.mark.parametrize(
    "line", [b"{", b'{"id": "a"}', b"3", b'{"id": "a", "time": "t", "step": 1, "epoch": 1, "momentum": 2}']
)
def test_damaged_records(run, line):
    (run / "adjustments.jsonl").write_bytes(line + b"\n")
    with pytest.raises(
        InputError, match="adjustments: expected .* to be readable; received b.* in line 1. It is damaged"
    ):
        Adjustments(run)


def test_runs_are_found(tmp_path):
    name = tmp_path / "runs" / "a"
    old, new = make_run(name / "20260101-000000"), make_run(name / "20260102-000000", "interrupted")
    done = make_run(name / "20260103-000000", "complete")
    make_run(name / ".tmp-01234567-20260104-000000")
    assert find_run(old) == old
    assert find_run(str(name)) == new
    for path in (done,):
        with pytest.raises(
            InputError, match="run: expected a run that is not complete; received .*20260103.*, which is"
        ):
            find_run(path)
    for path in (old, new):
        (path / "metrics.json").write_text('{"status": "complete"}')
    with pytest.raises(InputError, match="run: expected a run that is not complete; received .*/runs/a', which is"):
        find_run(name)


@pytest.mark.parametrize(
    ("path", "received"), [("no_run", "which has no config.yaml"), ("none", "which is no directory")]
)
def test_what_is_no_run(tmp_path, path, received, tree):
    (tmp_path / "no_run").mkdir()
    with pytest.raises(
        InputError, match=f"run: expected a run directory of `kerasbn train`; received .*{path}', {received}"
    ):
        request(tmp_path / path, Change(stop=True))
    assert tree(tmp_path) == ["no_run"]


def test_nothing_to_change_leaves_nothing(run, tree):
    before = tree(run)
    with pytest.raises(
        InputError, match="adjust: expected something to change; received nothing. Give --learning-rate"
    ):
        request(run, Change())
    assert tree(run) == before


def test_running_or_not(run):
    assert not is_running(run)
    assert not (run / "lock").exists()
    with filelock.FileLock(run / "lock"):
        assert is_running(run)
    assert not is_running(run)


def test_a_look_for_nothing_costs_microseconds(run):
    taking = Adjustments(run)
    (run / "requests").mkdir()
    begun = time.perf_counter()
    for _ in range(1000):
        taking.poll()
    assert (time.perf_counter() - begun) / 1000 < 100e-6  # 4e-6 on an ordinary machine


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "time": 2, "step": "x", "epoch": 1}',
        b'{"id": "a", "time": "b", "step": 1, "epoch": 1, "before": [1], "after": 3}',
        b"[" * 100_000,
    ],
    ids=["a word for a number", "lists for values", "endless brackets"],
)
def test_records_that_make_no_sense(tmp_path, line):
    (tmp_path / "adjustments.jsonl").write_bytes(line + b"\n")
    with pytest.raises(InputError, match=r"adjustments: expected .* to be readable; received .* in line 1\. "):
        read_records(tmp_path)


def test_a_request_that_makes_no_sense_is_taken_away(tmp_path):
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "1-a.json").write_text("[" * 100_000)
    assert Adjustments(tmp_path).poll() == []
    assert list((tmp_path / "requests").iterdir()) == []
