"""Leases: one worker a trial, whoever dies or stands still, and each result in the store once."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import optuna
import postgresql
import pytest
import sqlalchemy

from kerasbn.checks import InputError
from kerasbn.tuning.store.leases import TABLE, Lease, Leases
from kerasbn.tuning.store.storage import open_storage


@pytest.fixture(scope="module")
def server():
    with postgresql.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("server").new_database(tmp_path.name)


class Worker:
    """A worker with its own connections, as one in a process of its own has."""

    def __init__(self, url, name, seconds=60.0):
        self.storage = open_storage(url)
        self.leases = Leases(self.storage.engine, "s", name, seconds)
        self.study = optuna.create_study(storage=self.storage, study_name="s", load_if_exists=True)

    def add(self, number):
        self.study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={"number": number}))

    @property
    def stored(self):
        return [trial.user_attrs["number"] for trial in self.study.get_trials(deepcopy=False)]


@pytest.fixture
def workers(url):
    """Return a function that makes workers on one study."""

    def make(*names, seconds=60.0):
        return [Worker(url, name, seconds) for name in names]

    return make


def stand_still(worker, number):
    """Let a worker's lease run out, without the time it takes."""
    with worker.storage.engine.begin() as connection:
        connection.execute(sqlalchemy.update(TABLE).where(TABLE.c.number == number).values(expires=0))


def test_one_at_a_time(workers):
    one, two = workers("one", "two")
    assert one.leases.claim(0)
    assert not two.leases.claim(0)
    assert two.leases.claim(0, part=1)  # another part
    assert two.leases.claim(1)
    assert one.leases.claim(0)  # its own already
    held = one.leases.held()
    assert [(lease.number, lease.part, lease.worker) for lease in held] == [(0, 0, "one"), (0, 1, "two"), (1, 0, "two")]
    assert all(55 < lease.seconds <= 60 for lease in held)
    two.leases.release(0)  # not its own: nothing happens
    assert not two.leases.claim(0)
    one.leases.release(0)
    assert two.leases.claim(0)


def test_another_study_has_its_own(workers):
    (one,) = workers("one")
    other = Leases(one.storage.engine, "other", "one")
    assert one.leases.claim(0)
    assert other.claim(0)
    other.clear()
    assert other.held() == []
    assert len(one.leases.held()) == 1


def test_taken_over_when_it_has_run_out(workers):
    one, two = workers("one", "two")
    one.leases.claim(0)
    stand_still(one, 0)
    assert one.leases.held() == []
    assert one.leases.renew(0)  # nobody has taken over
    assert not two.leases.claim(0)
    stand_still(one, 0)
    assert two.leases.claim(0)
    assert not one.leases.renew(0)
    assert not one.leases.finish(0, lambda: one.add(0))
    assert one.stored == two.stored == []
    one.leases.release(0)
    assert two.leases.finish(0, lambda: two.add(0))
    assert one.stored == two.stored == [0]


def test_finished_is_never_claimed_again(workers):
    one, two = workers("one", "two")
    one.leases.claim(0)
    assert one.leases.finish(0, lambda: one.add(0))
    stand_still(one, 0)
    one.leases.release(0)
    assert not two.leases.claim(0)
    assert not one.leases.claim(0)
    assert one.leases.held() == []


def test_a_part_is_stored_as_an_attribute(workers):
    one, two = workers("one", "two")
    one.leases.claim(3, part=1)
    assert one.leases.finish(3, lambda: one.study.set_user_attr("waiting:3", {"score": 0.5}), part=1)
    assert two.study.user_attrs["waiting:3"] == {"score": 0.5}
    assert not two.leases.claim(3, part=1)


def test_add_may_read_before_it_writes(workers):
    one, two = workers("one", "two")
    one.leases.claim(0)

    def reads_and_fails():
        assert one.stored == []  # a transaction of its own, which is committed
        raise KeyError("killed here")

    with pytest.raises(KeyError):
        one.leases.finish(0, reads_and_fails)
    stand_still(one, 0)
    assert two.leases.claim(0)
    assert two.leases.finish(0, lambda: (two.stored, two.add(0), two.stored))
    assert one.stored == [0]


def test_an_answer_that_is_lost_does_not_store_twice(workers):
    (one,) = workers("one")
    one.leases.claim(0)
    assert one.leases.finish(0, lambda: one.add(0))
    assert one.leases.finish(0, lambda: one.add(0))  # the same again: it is there
    assert one.stored == [0]
    one.leases.claim(1)
    assert one.leases.finish(1, lambda: (one.add(1), one.add(1)))  # as Optuna does after a broken connection
    assert one.stored == [0, 1]


def test_add_that_writes_elsewhere_is_noticed(workers):
    one, two = workers("one", "two")
    one.leases.claim(0)
    with pytest.raises(RuntimeError, match="written on the engine that the leases are on"):
        one.leases.finish(0, lambda: two.add(0))


def test_an_error_that_optuna_ignores_since_another_has_stored_the_same(workers):
    one, two = workers("one", "two")
    one.leases.claim(0)
    stand_still(one, 0)
    two.leases.claim(0)
    assert not one.leases.finish(0, lambda: None)


def test_the_engine_is_as_before_after_a_fence(workers):
    one, two = workers("one", "two")
    one.leases.claim(0)
    one.leases.finish(0, lambda: one.add(0))
    one.add(7)
    assert two.stored == [0, 7]


def test_many_claim_at_once(workers):
    crowd = workers(*"abcdef")
    together = threading.Barrier(len(crowd))

    def claim_all(worker):
        together.wait()
        won = [number for number in range(20) if worker.leases.claim(number)]
        for number in won:
            assert worker.leases.finish(number, lambda number=number: worker.add(number))
        return won

    with ThreadPoolExecutor(len(crowd)) as pool:
        won = list(pool.map(claim_all, crowd))
    assert sorted(number for one in won for number in one) == list(range(20))
    assert sorted(crowd[0].stored) == list(range(20))


def test_renewed_while_it_trains(workers):
    one, two = workers("one", "two", seconds=0.6)
    one.leases.claim(0)
    with one.leases.renewing(0):
        time.sleep(1.2)
        assert not two.leases.claim(0)
    time.sleep(0.7)
    assert two.leases.claim(0)


def test_finished_while_it_is_renewed(workers):
    (one,) = workers("one", seconds=0.03)
    one.leases.claim(0)
    with one.leases.renewing(0):
        for number in range(20):
            one.leases.claim(number)
            assert one.leases.finish(number, lambda number=number: one.add(number))
    assert one.stored == list(range(20))


PROGRAM = """
import sys, time, importlib.util, sqlalchemy
sys.path.insert(0, {root!r})
spec = importlib.util.spec_from_file_location("leases", {path!r})  # without the package, which loads TensorFlow
leases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(leases)
own = leases.Leases(sqlalchemy.create_engine({url!r}), "s", "killed", 1.0)
assert own.claim(0)
with own.renewing(0):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_a_worker_that_is_killed_is_taken_over_within_two_leases(workers, url):
    (two,) = workers("two", seconds=1.0)
    spec = importlib.util.find_spec("kerasbn.tuning.store.leases")
    root = os.path.dirname(os.path.dirname(importlib.util.find_spec("kerasbn").origin))
    engine = two.storage.engine.url.render_as_string(hide_password=False)
    program = PROGRAM.format(root=root, path=spec.origin, url=engine)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "mine\n"
        time.sleep(1.5)
        assert not two.leases.claim(0)  # it lives, and renews
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        while not two.leases.claim(0):
            assert time.monotonic() - killed < 2.0
            two.leases.wait()


def test_a_kill_before_the_commit_stores_nothing(workers, monkeypatch):
    one, two = workers("one", "two")
    one.leases.claim(0)

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(one.storage.engine.dialect, "do_commit", killed)
    with pytest.raises(KeyboardInterrupt):
        one.leases.finish(0, lambda: one.add(0))
    stand_still(two, 0)
    assert two.leases.claim(0)
    assert two.leases.finish(0, lambda: two.add(0))
    assert two.stored == [0]


def test_what_a_lease_says():
    assert Lease(3, 0, "host:1", 12.5).worker == "host:1"


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "60"])
def test_seconds_are_checked(tmp_path, seconds):
    engine = open_storage(f"sqlite:///{tmp_path / 's.db'}").engine
    with pytest.raises(InputError, match=r"lease_seconds: expected a number above 0; received"):
        Leases(engine, "s", "w", seconds)
