"""Storage in a database: its URL, a server that is away or refuses, and results that wait for it."""

import importlib.util
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras_tuner
import optuna
import postgresql
import pytest
import sqlalchemy
from recorded import x_only

from kerasbn.checks import InputError, TaskError
from kerasbn.tuning.store.leases import TABLE, Leases
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.storage import (
    database_url,
    open_storage,
    read_pending,
    remove_pending,
    retrying,
    without_password,
    write_pending,
)

EXPECTED = (
    "search.storage: expected a database that can be used, postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE; "
    "received "
)


@pytest.fixture(scope="module")
def server():
    with postgresql.running() as server:
        yield server


@pytest.fixture
def url(server, tmp_path):
    return server.new_database(tmp_path.name)


@pytest.fixture
def stopped(server):
    """Give a server that does not run; it runs again afterwards."""
    server.stop()
    yield server
    if server.process is None:
        server.start()


def down():
    raise sqlalchemy.exc.OperationalError("SELECT", {}, ConnectionError("connection refused"))


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://me:secret@host/db", "postgresql+psycopg"),
        ("postgres://me:secret@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg://host:5433/db", "postgresql+psycopg"),
        ("sqlite:///study.db", "sqlite"),
    ],
)
def test_url(given, driver):
    assert database_url(given).drivername == driver


def test_the_driver_that_is_installed(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "psycopg2" or None)
    assert database_url("postgresql://host/db").drivername == "postgresql+psycopg2"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        database_url("postgresql://me:secret@host/db")
    monkeypatch.setattr(importlib.util, "find_spec", found)
    assert str(caught.value) == (
        f"{EXPECTED}'postgresql://host/db', for which there is no driver here. "
        "Install it: pip install 'kerasbn[postgresql]'."
    )


@pytest.mark.parametrize(
    ("given", "received"),
    [
        ("studies", "'studies'. Characters of a password such as @, / and : are written as %40, %2F and %3A."),
        ("postgresql://me:sec/ret@host:x/db", "'postgresql://***@host:x/db'. Characters of a password such as @"),
        ("mongodb://me:secret@host/db?password=secret", "'mongodb://***@host/db'. Without a database, one search"),
        ("postgresql+asyncpg://me:secret@host/db", "'postgresql+asyncpg://***@host/db'. Without a database, one"),
        ("sqlite://", "'sqlite://'. Name a file: what is in memory is gone after the search."),
        ("sqlite:///:memory:", "'sqlite:///:memory:'. Name a file"),
        (3, "'3'. Characters"),
    ],
)
def test_a_url_that_cannot_be_used(given, received):
    with pytest.raises(InputError) as caught:
        open_storage(given)
    assert str(caught.value).startswith(EXPECTED + received)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgres://me:secret@127.0.0.1:5432/db?password=secret", "postgresql://127.0.0.1:5432/db"),
        ("postgresql+psycopg://me@[::1]/db", "postgresql://[::1]/db"),
        ("sqlite:////tmp/study.db", "sqlite:////tmp/study.db"),
    ],
)
def test_what_is_shown_of_a_url(given, shown):
    assert without_password(given) == shown


def test_workers_open_a_new_database_at_once(url, tmp_path):
    for one in (url, f"sqlite:///{tmp_path / 'study.db'}"):
        together = threading.Barrier(4)

        def open_it(number, one=one, together=together):
            together.wait()
            storage = open_storage(one)
            assert Leases(storage.engine, "s", "w").claim(number)
            return sqlalchemy.inspect(storage.engine).get_table_names()

        with ThreadPoolExecutor(4) as pool:
            for names in pool.map(open_it, range(4)):
                assert {TABLE.name, "trials", "alembic_version"} <= set(names)


@pytest.mark.parametrize(
    ("wrong", "reason", "remedy"),
    [
        (
            lambda url: url.replace(postgresql.QUOTED, "wrong"),
            'FATAL: password authentication failed for user "kerasbn")',
            "Check the user and the password in the URL, and whether the server lets them in from here (pg_hba.conf).",
        ),
        (lambda url: url + "x", 'x" does not exist)', "Make it first: createdb NAME."),
        (lambda url: url.replace(f":{postgresql.QUOTED}", ""), "no password supplied)", "Check the user and"),
    ],
    ids=["password", "database", "no password"],
)
def test_who_is_refused_is_told_at_once(url, wrong, reason, remedy):
    said = []
    with pytest.raises(InputError) as caught:
        open_storage(wrong(url), said.append)
    assert str(caught.value).startswith(f"{EXPECTED}{without_password(wrong(url))} (connection failed: ")
    assert f"{reason}. {remedy}" in str(caught.value)
    assert said == []


def test_an_option_that_there_is_not(url):
    with pytest.raises(InputError, match=r"\(invalid connection option \"colour\"\)\.$"):
        open_storage(url + "?colour=red")


def test_a_user_who_may_make_no_tables(server, url):
    with server.connect("postgres") as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(InputError) as caught:
        open_storage(url.replace(f"kerasbn:{postgresql.QUOTED}", "guest:guest"))
    assert "(permission denied for schema public" in str(caught.value)
    assert str(caught.value).endswith(
        "Let the user own the database, or have its owner say: GRANT CREATE, USAGE ON SCHEMA public TO the user."
    )


def test_sqlite_in_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"no/study.db, in no directory. Check the path: three slashes"):
        open_storage(f"sqlite:///{tmp_path / 'no' / 'study.db'}")
    assert not (tmp_path / "no").exists()


def test_sqlite_of_what_is_no_database(tmp_path):
    (tmp_path / "study.db").write_text("number,score\n" * 100)
    with pytest.raises(InputError, match=r"file is not a database\). Check the path"):
        open_storage(f"sqlite:///{tmp_path / 'study.db'}")


def test_tables_of_another_optuna(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with open_storage(url).engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v0.9.0.a'"))
    with pytest.raises(InputError, match=r"with tables of another Optuna, v0.9.0.a. Bring them up to date: "):
        open_storage(url)


def test_retrying_says_when_it_begins_and_ends():
    said, tries = [], iter([down, down, lambda: 3])
    assert retrying(lambda: next(tries)(), "postgresql://me:secret@host/db", said.append, 9) == 3
    assert said == [
        "The storage postgresql://host/db does not answer (connection refused); trying again for 9 s.",
        "The storage postgresql://host/db answers again.",
    ]


def test_retrying_ends():
    said, begun = [], time.monotonic()
    with pytest.raises(TaskError) as caught:
        retrying(down, "sqlite:///study.db", said.append, 0.3)
    assert 0.3 <= time.monotonic() - begun < 1
    assert str(caught.value) == (
        "The storage sqlite:///study.db has not answered for 0.3 s (connection refused). All that is finished is kept: "
        "see to the database, then give the same command again."
    )
    assert len(said) == 1


def test_an_error_of_another_kind_is_raised_at_once(tmp_path):
    engine, calls = open_storage(f"sqlite:///{tmp_path / 'study.db'}").engine, []

    def wrong():
        calls.append(1)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO studies (study_id) VALUES (1)"))

    with pytest.raises(sqlalchemy.exc.IntegrityError):
        retrying(wrong, "sqlite:///study.db", pytest.fail)
    assert len(calls) == 1


def test_a_server_that_is_away_for_a_while(server, url):
    storage, said = open_storage(url), []
    study = optuna.create_study(storage=storage, study_name="s")
    leases = Leases(storage.engine, "s", "w", seconds=0.3)
    leases.claim(0)
    with leases.renewing(0):
        server.stop()
        threading.Timer(1.0, server.start).start()
        trial = optuna.trial.create_trial(value=1.0)
        assert retrying(lambda: leases.finish(0, lambda: study.add_trial(trial)), url, said.append)
    assert len(study.get_trials()) == 1
    assert [line.split(" (")[0] for line in said] in (
        [],  # Optuna tries five times by itself
        [f"The storage {without_password(url)} does not answer", f"The storage {without_password(url)} answers again."],
    )
    assert not leases.claim(0)


def test_a_server_that_restarts_between_two_calls_is_not_noticed(server, url):
    storage = open_storage(url)
    leases = Leases(storage.engine, "s", "w")
    assert leases.claim(0)
    server.stop()
    server.start()
    assert leases.renew(0)


def test_a_server_that_stays_away(stopped):
    url, said = f"postgresql://me:secret@127.0.0.1:{stopped.port}/db", []
    with pytest.raises(TaskError) as caught:
        open_storage(url, said.append, seconds=0.5)
    place = f"postgresql://127.0.0.1:{stopped.port}/db"
    assert str(caught.value).startswith(f"The storage {place} has not answered for 0.5 s (connection failed: ")
    assert said[0].startswith(f"The storage {place} does not answer (connection failed: ")
    assert said[0].endswith("Connection refused); trying again for 0.5 s.")
    assert "secret" not in said[0] + str(caught.value)


def test_pending_results(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    records = [TrialRecord(n, "completed", n / 2, hp, history=({"epoch": 0, "loss": 1.0},)) for n in (12, 3)]
    assert read_pending(tmp_path) == []
    for part, record in enumerate(records):
        write_pending(tmp_path, record, part)
    assert [(r.to_json(), part) for r, part in read_pending(tmp_path)] == [
        (records[1].to_json(), 1),
        (records[0].to_json(), 0),
    ]
    remove_pending(tmp_path, records[0])
    remove_pending(tmp_path, records[1], 1)
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_begun_anew_has_nothing_of_the_old_one(recorded, tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    old = recorded(x_only, trials=3, storage=url).study
    write_pending(old.directory, old.by_number[2])
    (old.directory / "running-00002").mkdir()
    (old.directory / "part-00002.npz").touch()
    new = recorded(x_only, trials=3, storage=url, seed=1, overwrite=True, search=False).study
    assert new.trials == []
    assert [path.name for path in old.directory.iterdir()] == []


def test_a_study_that_was_deleted_with_optuna_is_begun_anew(recorded, tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    recorded(x_only, trials=2, storage=url)
    optuna.delete_study(study_name="r", storage=url)
    again = recorded(x_only, trials=2, storage=url, seed=1, search=False)
    assert again.study.leases.claim(0)  # or the search would wait for it for ever
