"""A real PostgreSQL for the tests: on loopback, in a directory of its own, gone afterwards."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

USER, PASSWORD = "kerasbn", "p@ss/w%rd{0}"  # what a URL has to quote, and what no message may show
QUOTED = "p%40ss%2Fw%25rd%7B0%7D"


def program(name):
    """Return the path of one of PostgreSQL's programs; the test is skipped where it is not installed."""
    places = [*sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True), os.environ.get("PATH", "")]
    path = shutil.which(name, path=os.pathsep.join(places))
    if path is None:
        pytest.skip(f"PostgreSQL is not installed (no {name}): scripts/setup --system installs it where it can")
    return path


def unprivileged():
    """Return what `subprocess` takes to run as another user than root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class Server:
    """A PostgreSQL server that can be stopped and started again."""

    def __init__(self, directory):
        self.directory, self.account, self.process = Path(directory), unprivileged(), None
        if self.account:
            os.chown(directory, self.account["user"], self.account["group"])
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command = [program("initdb"), "--pgdata", self.directory / "data", "--username", USER, "--no-sync"]
        self._run([*command, "--encoding=UTF8", "--no-locale", "--auth=scram-sha-256", "--pwfile", password])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def _run(self, command):
        result = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, **self.account)
        assert result.returncode == 0, result.stdout + result.stderr

    def start(self):
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [program("postgres"), "-D", self.directory / "data", "-p", str(self.port), *options]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self.account)
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError), self.connect("postgres"):
                return
            assert self.process.poll() is None, (self.directory / "log").read_text()
            time.sleep(0.05)
        raise AssertionError("PostgreSQL did not answer within 15 s")

    def stop(self, how=signal.SIGINT):
        """Stop it: SIGINT ends sessions and rolls back what they were at, SIGQUIT also leaves the files as they are."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None

    def connect(self, database):
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def new_database(self, name):
        """Make an empty database, and return its URL."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://{USER}:{QUOTED}@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def running():
    """Give a server that runs; at the end it is stopped, and its files are removed."""
    program("initdb"), program("postgres")
    directory = tempfile.mkdtemp(prefix="kerasbn-postgresql-")  # pytest's own directories are closed to other users
    server = None
    try:
        server = Server(directory)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop(signal.SIGQUIT)
        shutil.rmtree(directory)
