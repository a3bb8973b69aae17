"""Several processes on one study in PostgreSQL: one is killed, the server is away for a while, or for good."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import optuna
import postgresql
import pytest
from recorded import Recorded, x_only

from kerasbn.checks import TaskError
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TuneConfig, write_config
from kerasbn.tuning import RandomSearch, read_study, tune
from kerasbn.tuning.store.leases import Leases
from kerasbn.tuning.store.storage import open_storage, read_pending, retrying, without_password

TRIALS, LEASE = 8, 6.0


@pytest.fixture(scope="module")
def server():
    with postgresql.running() as server:
        yield server
        if server.process is None:  # for the connections that are closed after this
            server.start()


@pytest.fixture
def url(server, tmp_path):
    if server.process is None:
        server.start()
    return server.new_database(tmp_path.name)


def wait_for(what, seconds):
    """Return the first true value of a function, and how long it took."""
    begun = time.monotonic()
    while not (value := what()):
        assert time.monotonic() - begun < seconds, "it took too long"
        time.sleep(0.05)
    return value, time.monotonic() - begun


@pytest.fixture
def start(tmp_path):
    """Return a function that starts `kerasbn tune` with a config; what runs still at the end is killed."""
    processes = []

    def run(config, name):
        write_config(config, tmp_path / "search.yaml")
        command = [sys.executable, "-m", "kerasbn", "tune", "--config", tmp_path / "search.yaml"]
        command += ["--search.output", tmp_path / name]  # as on a machine of its own
        with (tmp_path / f"{name}.txt").open("w") as output:
            processes.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_three_workers_of_which_one_is_killed(url, start, tmp_path):
    # One by one: at once they are over before all workers have started.
    search = SearchConfig(
        max_trials=TRIALS, epochs=20, tune=("learning_rate", "units"), units=(8, 64), seed=3, engine="fit"
    )
    config = TuneConfig(data=DataConfig(source="iris"), model=MLPConfig(units=(8,)), search=search)
    shared = TuneConfig(
        data=config.data,
        model=config.model,
        search=SearchConfig(**{**vars(search), "storage": url, "lease_seconds": LEASE}),
    )
    storage = open_storage(url)
    leases = Leases(storage.engine, "iris", "the test")

    def held():
        return {lease.number: int(lease.worker.rpartition(":")[2]) for lease in leases.held() if lease.number >= 0}

    def stopped():
        """Stop one of two workers that train, in the middle of a trial; return its trial and its process."""
        if len(set(held().values())) < 2:
            return None
        pid = next(iter(held().values()))
        os.kill(pid, signal.SIGSTOP)
        lost = [number for number, other in held().items() if other == pid]
        if not lost:  # between two trials
            os.kill(pid, signal.SIGCONT)
        return (lost[0], pid) if lost else None

    workers = {process.pid: process for process in (start(shared, name) for name in ("one", "two", "three"))}
    (lost, pid), _ = wait_for(stopped, 120)
    workers.pop(pid).kill()
    _, seconds = wait_for(lambda: held().get(lost, pid) != pid, 120)
    assert seconds < 2 * LEASE

    alone = tune(
        TuneConfig(data=config.data, model=config.model, search=SearchConfig(**{**vars(search), "output": tmp_path})),
        on_trial=lambda record: None,
    )
    for process in workers.values():
        assert process.wait(timeout=120) == 0, [path.read_text() for path in tmp_path.glob("*.txt")]

    study = read_study(tmp_path / "one" / "iris", url)
    trials = optuna.load_study(study_name="iris", storage=storage).get_trials()
    assert sorted(trial.user_attrs["number"] for trial in trials) == list(range(TRIALS))  # each once
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    assert int(study.trials[lost].worker.rpartition(":")[2]) in workers
    assert [t.score for t in study.trials] == [t.score for t in sorted(alone.trials, key=lambda t: t.number)]
    assert leases.held() == []


class Interrupted(Recorded):
    """Does something to the server in the middle of its third trial."""

    def __init__(self, act):
        self.act, self.trained = act, 0
        super().__init__(x_only)

    def fit(self, hp, model, *args, **kwargs):
        self.trained += 1
        if self.trained == 3:
            self.act()
        return super().fit(hp, model)


def searching(model, url, directory, said, trials=5):
    return RandomSearch(
        model,
        max_trials=trials,
        seed=0,
        directory=directory,
        project_name="p",
        storage=url,
        lease_seconds=1.0,
        on_trial=lambda record: None,
        say=said.append,
    )


def scores(study):
    return [(t.number, t.status, t.score) for t in study.trials]


def test_the_server_is_away_for_a_while(server, url, tmp_path):
    def restart():
        server.stop()
        threading.Timer(3.0, server.start).start()

    said = []
    tuner = searching(Interrupted(restart), url, tmp_path / "a", said)
    tuner.search()
    straight = RandomSearch(Recorded(x_only), max_trials=5, seed=0, directory=tmp_path, on_trial=lambda record: None)
    straight.search()
    assert scores(tuner.study) == scores(straight.study) == scores(read_study(tmp_path / "a" / "p", url))
    place = f"The storage {without_password(url)}"
    assert said[1].startswith(f"{place} does not answer (connection ")
    assert said[-1] == f"{place} answers again."
    assert tuner.hypermodel.trained == 5


def test_the_server_stays_away(server, url, tmp_path, monkeypatch):
    monkeypatch.setattr("kerasbn.tuning.store.study.retrying", functools.partial(retrying, seconds=1.0))
    said = []
    tuner = searching(Interrupted(server.stop), url, tmp_path, said)
    with pytest.raises(TaskError) as caught:
        tuner.search()
    assert str(caught.value).startswith(f"The storage {without_password(url)} has not answered for 1 s (connection ")
    assert str(caught.value).endswith(
        "All that is finished is kept: see to the database, then give the same command again."
    )
    assert [record.number for record, _ in read_pending(tmp_path / "p")] == [2]
    server.start()
    assert [t.number for t in read_study(tmp_path / "p", url).trials] == [0, 1]
    again = searching(Recorded(x_only), url, tmp_path, said)
    again.search()
    straight = RandomSearch(Recorded(x_only), max_trials=5, seed=0, directory=tmp_path / "s", on_trial=said.append)
    straight.search()
    assert scores(again.study) == scores(straight.study)
    assert read_pending(tmp_path / "p") == []


def test_another_directory_goes_on_where_the_first_one_ended(url, tmp_path):
    for name, trials in (("a", 2), ("b", 5), ("a", 5)):
        tuner = searching(Recorded(x_only), url, tmp_path / name, [], trials)
        tuner.search()
    assert [t.number for t in tuner.study.trials] == list(range(5))
    assert tuner.hypermodel.built == 1  # a look at the space, and no trial
