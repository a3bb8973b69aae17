"""Storage in a database: opened from a URL, waited for while it is down, and results that could not be added."""

import contextlib
import importlib.util
import re
import time
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import filelock
import optuna
import sqlalchemy
from sqlalchemy import exc

from kerasbn import files
from kerasbn.checks import InputError, TaskError
from kerasbn.tuning.store import journal, leases
from kerasbn.tuning.store.records import TrialRecord, from_json

T = TypeVar("T")
_URLS = "postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE"
# Module by driver; the first that is installed is taken where the URL names none.
_DRIVERS: Mapping[str, str] = types.MappingProxyType(
    {"postgresql+psycopg": "psycopg", "postgresql+psycopg2": "psycopg2"}
)
# A cable that is pulled is noticed within half a minute, not after a quarter of an hour.
_POSTGRESQL: Mapping[str, int] = types.MappingProxyType(
    {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 25_000,
    }
)
_QUOTE = "Characters of a password such as @, / and : are written as %40, %2F and %3A."
_SQLITE_PATH = "Check the path: three slashes, and a fourth if it is absolute."
# What a server says to those who will not get in however long they wait, and what to do about it.
_REFUSALS: Mapping[str, str] = types.MappingProxyType(
    {
        r"database .* does not exist": "Make it first: createdb NAME.",
        r"password authentication failed|no password supplied|role .* does not exist|no pg_hba.conf entry": (
            "Check the user and the password in the URL, and whether the server lets them in from here (pg_hba.conf)."
        ),
        r"permission denied": (
            "Let the user own the database, or have its owner say: GRANT CREATE, USAGE ON SCHEMA public TO the user."
        ),
        r"unable to open database file|file is not a database": _SQLITE_PATH,
    }
)
_PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds before the next try; the last one again and again


def _refused(received: str, remedy: str) -> InputError:
    return InputError("search.storage", f"a database that can be used, {_URLS}", received, remedy)


def _masked(text: str) -> str:
    """Return a URL that could not be read, without what may be a password."""
    return re.sub(r"://.*@", "://***@", text).partition("?")[0]


def database_url(storage: str) -> sqlalchemy.URL:
    """Return the URL of a database with a driver that is installed.

    Args:
        storage: PostgreSQL's, with a driver or without, or SQLite's, with a file.

    Returns:
        The URL as SQLAlchemy takes it.

    Raises:
        InputError: If it is no URL, of another kind of database, or has no driver here.

    Example:
        >>> database_url("sqlite:///study.db").database
        'study.db'
    """
    try:
        url = sqlalchemy.make_url(storage)
    except (exc.ArgumentError, ValueError, AttributeError):  # ValueError: a port that is no number
        raise _refused(repr(_masked(str(storage))), _QUOTE) from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if not url.database or url.database == ":memory:":
            raise _refused(repr(_masked(storage)), "Name a file: what is in memory is gone after the search.")
        return url
    if "@" in f"{url.host}{url.database}":  # what follows the first @ or / of a password, which must not be shown
        raise _refused(repr(_masked(storage)), _QUOTE)
    wanted = [url.drivername]
    if url.drivername in ("postgresql", "postgres"):
        wanted = list(_DRIVERS)
    elif url.drivername not in _DRIVERS:
        raise _refused(repr(_masked(storage)), "Without a database, one search at a time keeps its study in files.")
    for driver in wanted:
        if importlib.util.find_spec(_DRIVERS[driver]) is not None:
            return url.set(drivername=driver)
    received = f"{without_password(storage)!r}, for which there is no driver here"
    raise _refused(received, "Install it: pip install 'kerasbn[postgresql]'.")


def without_password(storage: str | sqlalchemy.URL) -> str:
    """Return the URL of a database as it may be shown: its kind, host and name, neither user nor password.

    Example:
        >>> without_password("postgresql://me:secret@127.0.0.1:5432/studies")
        'postgresql://127.0.0.1:5432/studies'
    """
    url = sqlalchemy.make_url(storage)
    kind = "postgresql" if url.drivername == "postgres" else url.get_backend_name()
    return sqlalchemy.URL.create(kind, host=url.host, port=url.port, database=url.database).render_as_string()


def _words(error: BaseException) -> str:
    """Return what the database or its driver said."""
    while error.__cause__ is not None and not isinstance(error, exc.DBAPIError):  # Optuna's error around it
        error = error.__cause__
    return str(error.orig) if isinstance(error, exc.DBAPIError) else str(error)


def _reason(error: BaseException) -> str:
    """Return the first line of that: others name further addresses, or ask whether the server runs."""
    return " ".join(_words(error).strip().partition("\n")[0].split()).rstrip(".")


def _down(error: Exception) -> bool:
    """Return whether an error may be gone at the next try: no answer, a broken connection, a server that starts."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return isinstance(cause, exc.OperationalError | exc.InterfaceError | exc.TimeoutError) or (
        isinstance(cause, exc.DBAPIError) and cause.connection_invalidated
    )


def retrying(call: Callable[[], T], storage: str, say: Callable[[str], None] = print, seconds: float = 60.0) -> T:
    """Call what needs a database; while that does not answer, say so once and try again.

    Args:
        call: Can be called again after it has failed.
        storage: URL of the database, for the messages.
        say: Called with a line when the database does not answer, and another when it does again.
        seconds: For how long to try.

    Returns:
        What the call returns.

    Raises:
        TaskError: If the database has not answered for that long.

    Example:
        >>> retrying(lambda: 3, "sqlite:///study.db")
        3
    """
    first: float | None = None
    tries = 0
    while True:
        try:
            result = call()
        except (exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if not _down(error):
                raise
            now = time.monotonic()
            place, reason = without_password(storage), _reason(error)
            if first is None:
                first = now
                say(f"The storage {place} does not answer ({reason}); trying again for {seconds:g} s.")
            elif now - first >= seconds:
                raise TaskError(
                    f"The storage {place} has not answered for {seconds:g} s ({reason}). All that is finished is "
                    "kept: see to the database, then give the same command again."
                ) from error
            time.sleep(min(_PAUSES[min(tries, len(_PAUSES) - 1)], max(0.0, first + seconds - now)))
            tries += 1
        else:
            if first is not None:
                say(f"The storage {without_password(storage)} answers again.")
            return result


@contextlib.contextmanager
def _alone(engine: sqlalchemy.Engine) -> Iterator[None]:
    """Make tables while no other worker does: two at once would get in each other's way in Optuna's code too."""
    if engine.dialect.name == "sqlite":
        with filelock.FileLock(f"{engine.url.database}.lock"):
            yield
    else:
        with engine.begin() as connection:  # the lock ends with the transaction
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext('kerasbn'))"))
            yield


def _open(url: sqlalchemy.URL) -> optuna.storages.RDBStorage:
    settings = dict(_POSTGRESQL)
    if url.get_backend_name() == "sqlite":
        settings = {"timeout": 30}
        if not Path(str(url.database)).parent.is_dir():
            raise _refused(f"{url.render_as_string()}, in no directory", _SQLITE_PATH)
    # A connection is tried before it is used: the server may have been restarted since.
    arguments = {"pool_pre_ping": True, "connect_args": settings}
    engine = sqlalchemy.create_engine(url, **arguments)
    try:
        with _alone(engine), journal.quiet():
            leases.TABLE.create(engine, checkfirst=True)
            text = url.render_as_string(hide_password=False)
            text = text.replace("{", "{{").replace("}", "}}")  # Optuna takes it for a template
            storage = optuna.storages.RDBStorage(text, arguments, skip_compatibility_check=True)
            weakref.finalize(storage, storage.engine.dispose)  # closes the connections; nobody else would
    finally:
        engine.dispose()
    if (found := storage.get_current_version()) != storage.get_head_version():
        remedy = "Bring them up to date: optuna storage upgrade --storage URL; or install the Optuna that made them."
        raise _refused(f"{without_password(url)} with tables of another Optuna, {found}", remedy)
    return storage


def open_storage(storage: str, say: Callable[[str], None] = print, seconds: float = 60.0) -> optuna.storages.RDBStorage:
    """Open Optuna's storage in a database, with our table of leases in it; what is missing is made.

    Args:
        storage: URL of the database, `postgresql://USER:PASSWORD@HOST/DATABASE` or `sqlite:///FILE`.
        say: Called with a line if the database does not answer.
        seconds: For how long to try then.

    Returns:
        The storage. Workers may open it at once.

    Raises:
        InputError: If the URL cannot be used, the server refuses the user, or there is no such database.
        TaskError: If the database does not answer.

    Example:
        >>> open_storage("sqlite:///study.db").get_all_studies()
        []
    """
    url = database_url(storage)

    def opened() -> optuna.storages.RDBStorage:
        try:
            return _open(url)
        except exc.ArgumentError as error:  # such as a port that is no number
            raise _refused(f"{without_password(storage)} ({error})", _QUOTE) from None
        except exc.DBAPIError as error:
            remedy = next((r for pattern, r in _REFUSALS.items() if re.search(pattern, _words(error))), "")
            if _down(error) and not remedy:
                raise
            raise _refused(f"{without_password(storage)} ({_reason(error)})", remedy) from error

    return retrying(opened, storage, say, seconds)


def _pending(directory: Path, record: TrialRecord, part: int) -> Path:
    return directory / f"pending-{record.number:05d}-{part}.json"


def write_pending(directory: Path, record: TrialRecord, part: int = 0) -> None:
    """Keep a result that a database has not taken in a file, until the study is opened again.

    Args:
        directory: The study's.
        record: The trial.
        part: Which part of it.
    """
    files.write_json(_pending(directory, record, part), {"part": part, "record": record.to_json()})


def read_pending(directory: Path) -> list[tuple[TrialRecord, int]]:
    """Return the results that a database has not taken, with their parts, by number.

    Args:
        directory: The study's.

    Raises:
        InputError: If one of the files cannot be read.
    """
    content = [files.read_json(path, "study") for path in sorted(directory.glob("pending-*-*.json"))]
    return [(from_json(one["record"]), one["part"]) for one in content]


def remove_pending(directory: Path, record: TrialRecord, part: int = 0) -> None:
    """Remove the file of a result that is in the database by now.

    Args:
        directory: The study's.
        record: The trial.
        part: Which part of it.
    """
    _pending(directory, record, part).unlink(missing_ok=True)
