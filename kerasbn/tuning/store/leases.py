"""Leases: which worker trains which trial of a study in a database, and who takes over from one that died."""

import contextlib
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InterfaceError, OperationalError

from kerasbn import checks

TABLE = sqlalchemy.Table(
    "kerasbn_leases",
    sqlalchemy.MetaData(),
    sqlalchemy.Column("study", sqlalchemy.String(512), primary_key=True),
    sqlalchemy.Column("number", sqlalchemy.Integer, primary_key=True, autoincrement=False),
    sqlalchemy.Column("part", sqlalchemy.Integer, primary_key=True, autoincrement=False),
    sqlalchemy.Column("worker", sqlalchemy.Text, nullable=False),
    sqlalchemy.Column("token", sqlalchemy.String(32), nullable=False),
    sqlalchemy.Column("expires", sqlalchemy.Double, nullable=False),  # seconds since 1970 by the server's clock
    sqlalchemy.Column("done", sqlalchemy.Boolean, nullable=False),
)
# Seconds since 1970 by the database's clock: those of the workers may differ by minutes.
_NOW: Mapping[str, str] = types.MappingProxyType(
    {
        "postgresql": "extract(epoch FROM clock_timestamp())",
        "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    }
)
# INSERT ... ON CONFLICT ... DO UPDATE: standard SQL has no one statement for "mine if it is free".
_INSERT: Mapping[str, Callable[..., Any]] = types.MappingProxyType(
    {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
)


class _TakenOverError(Exception):
    """The lease is not ours, so that what was to be committed with it must not be."""


@dataclass(frozen=True)
class Lease:
    """What a worker is at.

    Args:
        number: The trial's.
        part: Which part of it, from 0.
        worker: Who has it.
        seconds: After how many it can be taken over, unless it is renewed.
    """

    number: int
    part: int
    worker: str
    seconds: float


class Leases:
    """Leases of one worker on the trials of a study that several workers share.

    A worker claims a trial, renews the lease while it trains, and adds the result by `finish`. One that dies renews
    nothing: its lease runs out and the next one that asks has the trial. Time is the database's, and each change is
    one statement, so that workers need neither clocks that agree nor a coordinator.

    A trial is added once. `finish` marks the lease as done in the very transaction that stores the result: either
    both are in the database or neither is, whenever a worker is killed or its connection breaks; and a worker that
    stood still so long that another has taken over can store nothing.

    Args:
        engine: The storage's, `optuna.storages.RDBStorage.engine`: of PostgreSQL or SQLite. Its table `kerasbn_leases`
            is made by `kerasbn.tuning.store.storage.open_storage`.
        study: Name of the study.
        worker: Host and process, for those who look.
        seconds: How long a lease lasts unless it is renewed, above 0: three renewals may get lost in it.

    Raises:
        InputError: If the seconds are not above 0.

    Example:
        >>> from kerasbn.tuning.store.storage import open_storage
        >>> leases = Leases(open_storage("sqlite:///study.db").engine, "digits", "host:1234", seconds=60)
        >>> leases.claim(0)
        True
        >>> [(lease.number, lease.worker) for lease in leases.held()]
        [(0, 'host:1234')]
        >>> leases.release(0)

    Source: Gray and Cheriton (1989), Leases: an efficient fault-tolerant mechanism for distributed file cache
        consistency, SOSP 12.
    """

    def __init__(self, engine: sqlalchemy.Engine, study: str, worker: str, seconds: float = 60.0) -> None:
        self.seconds = checks.in_range("lease_seconds", seconds, 0, open_low=True)
        self.study, self.worker = study, worker
        self._engine, self._now = engine, sqlalchemy.literal_column(_NOW[engine.dialect.name], sqlalchemy.Double)
        self._token = uuid.uuid4().hex  # whose a lease is: a worker's name may come again in another container

    def _of(self, number: int, part: int) -> sqlalchemy.ColumnElement[bool]:
        return (TABLE.c.study == self.study) & (TABLE.c.number == number) & (TABLE.c.part == part)

    def _ours(self, number: int, part: int) -> sqlalchemy.ColumnElement[bool]:
        return self._of(number, part) & (TABLE.c.token == self._token)

    def _changed(self, statement: sqlalchemy.Update | sqlalchemy.Delete) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount > 0

    def claim(self, number: int, part: int = 0) -> bool:
        """Take a trial that nobody is at; what this worker has already stays its own.

        Args:
            number: The trial's.
            part: Which part of it, from 0.

        Returns:
            Whether it is this worker's now. False: another one is at it, or it is finished and in the store.
        """
        insert = _INSERT[self._engine.dialect.name](TABLE)
        mine = {"worker": self.worker, "token": self._token, "expires": self._now + self.seconds, "done": False}
        # Our own token: the answer to our first try may have been lost with the connection.
        free = ((TABLE.c.expires < self._now) | (TABLE.c.token == self._token)) & ~TABLE.c.done
        statement = insert.values(study=self.study, number=number, part=part, **mine).on_conflict_do_update(
            index_elements=list(TABLE.primary_key.columns), set_=mine, where=free
        )
        with self._engine.begin() as connection:
            return connection.execute(statement.returning(TABLE.c.token)).first() is not None

    def renew(self, number: int, part: int = 0) -> bool:
        """Begin the lease's time anew, also where it has run out but nobody has taken over.

        Args:
            number: The trial's.
            part: Which part of it.

        Returns:
            Whether it is still ours.
        """
        expires = {"expires": self._now + self.seconds}
        return self._changed(sqlalchemy.update(TABLE).where(self._ours(number, part), ~TABLE.c.done).values(**expires))

    @contextlib.contextmanager
    def renewing(self, number: int, part: int = 0) -> Iterator[None]:
        """Renew a lease from a thread while its trial is trained.

        While the database does not answer, training goes on: nobody can take over then. Whose the trial is, `finish`
        decides.

        Args:
            number: The trial's.
            part: Which part of it.
        """
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(self.seconds / 3):
                # Where the database does not answer, again in a third of the time.
                with contextlib.suppress(OperationalError, InterfaceError):
                    if not self.renew(number, part):  # taken over, or finished
                        return

        thread = threading.Thread(target=renew, name=f"lease on trial {number}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=1.0)  # one that waits for a dead network must not hold the search up

    def finish(self, number: int, add: Callable[[], object], part: int = 0) -> bool:
        """Store a trial's result, unless another worker has taken over: then nothing is stored.

        Args:
            number: The trial's.
            add: Stores the result, in one transaction that writes, on the engine: as `optuna.Study.add_trial` and
                `optuna.Study.set_user_attr` do. It may read as it likes.
            part: Which part of it.

        Returns:
            Whether the result is in the store, from this call or one before it whose answer was lost. May be called
            again after an error.

        Raises:
            RuntimeError: If `add` wrote nothing on the engine.
        """
        thread = threading.get_ident()  # others renew
        writing: sqlalchemy.Transaction | None = None
        fenced = False

        def note(connection: sqlalchemy.Connection, *others: Any) -> None:
            """Remember the transaction that writes."""
            nonlocal writing
            context = others[3]
            if threading.get_ident() == thread and (context.isinsert or context.isupdate):
                writing = connection.get_transaction()

        def fence(connection: sqlalchemy.Connection) -> None:
            """Make the lease done within the transaction that is about to be committed; end that if it is not ours."""
            nonlocal fenced
            if threading.get_ident() == thread and connection.get_transaction() is writing:
                done = sqlalchemy.update(TABLE).where(self._ours(number, part), ~TABLE.c.done).values(done=True)
                if connection.execute(done).rowcount == 0:
                    raise _TakenOverError
                fenced = True

        event.listen(self._engine, "before_cursor_execute", note)
        event.listen(self._engine, "commit", fence)
        try:
            add()
        except _TakenOverError:
            fenced = False
        finally:
            event.remove(self._engine, "before_cursor_execute", note)
            event.remove(self._engine, "commit", fence)
        return fenced or self._is_done(number, part)

    def _is_done(self, number: int, part: int) -> bool:
        """Return whether the result that nothing was committed of now is in the store already; False: taken over."""
        with self._engine.connect() as connection:
            done = connection.execute(sqlalchemy.select(TABLE.c.done).where(self._ours(number, part))).scalar()
        if done is False:
            raise RuntimeError("A result is to be written on the engine that the leases are on, and was not.")
        return done is not None

    def release(self, number: int, part: int = 0) -> None:
        """Let others have a trial at once; nothing happens if it is finished or no longer ours.

        Args:
            number: The trial's.
            part: Which part of it.
        """
        self._changed(sqlalchemy.delete(TABLE).where(self._ours(number, part), ~TABLE.c.done))

    def held(self) -> list[Lease]:
        """Return what workers are at, by number; leases that have run out are left out."""
        left = TABLE.c.expires - self._now
        query = sqlalchemy.select(TABLE.c.number, TABLE.c.part, TABLE.c.worker, left)
        query = query.where(TABLE.c.study == self.study, ~TABLE.c.done, left > 0)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(TABLE.c.number, TABLE.c.part)).all()
        return [Lease(*row) for row in rows]

    def wait(self) -> None:
        """Pause before asking again whether there is something to do: a quarter of a lease, at most a second."""
        time.sleep(min(self.seconds / 4, 1.0))

    def clear(self, but: int | None = None) -> None:
        """Forget all leases of the study, finished ones too, when it is deleted or begun.

        Args:
            but: Number of the trial whose leases stay; None: of none.
        """
        others = TABLE.c.study == self.study
        if but is not None:
            others &= TABLE.c.number != but
        self._changed(sqlalchemy.delete(TABLE).where(others))
