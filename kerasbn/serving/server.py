"""The HTTP server: a port of its own, the model behind it, and a clean end."""

import contextlib
import errno
import importlib.util
import os
import signal
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kerasbn import layout
from kerasbn.checks import InputError
from kerasbn.config import ServeConfig
from kerasbn.serving.artefact import Artefact, find_version, load_artefact
from kerasbn.serving.errors import RequestError
from kerasbn.serving.sample_request import sample_instance, sample_request

if TYPE_CHECKING:
    from starlette.applications import Starlette

_EXTRA = ("starlette", "uvicorn", "orjson")
_GRACE_SECONDS = 10  # that requests under way have to end in


def _require_extra() -> None:
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            "serve",
            f"the packages {', '.join(_EXTRA)}",
            f"no {', '.join(missing)}",
            'Install them with `pip install "kerasbn[serving]"`.',
        )


def make_app(artefact: Artefact, max_request_bytes: int = 64 * 2**20) -> "Starlette":
    """Return a Starlette application that answers TensorFlow Serving's REST requests for one model.

    POST /v1/models/<name>[/versions/<n>]:predict, GET /v1/models/<name>[/versions/<n>][/metadata].

    Args:
        artefact: The model, from `load_artefact`.
        max_request_bytes: Longest request body taken, in bytes.

    Returns:
        An ASGI application for uvicorn or any other server.

    Raises:
        InputError: If the packages of the extra "serving" are missing.

    Example:
        >>> app = make_app(load_artefact("saved_models/iris"))
    """
    _require_extra()
    from kerasbn.serving.routes import routes

    return routes(artefact, max_request_bytes)


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; an `InputError` names the address if there is none to be had."""
    address = f"{host}:{port}"
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise InputError("host", "an address of this machine", f"{host!r} ({error.strerror})") from error
    except UnicodeError as error:  # no name at all: a part of it is empty or too long
        raise InputError("host", "an address of this machine", f"{host!r} ({error})") from error
    # With the protocol named: asyncio sends replies at once (TCP_NODELAY) only then, instead of 40 ms later.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if socket.has_ipv6 and family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # A port is free again as soon as its server has ended, not only after the minutes of TIME_WAIT. On
        # Windows it is anyway, and the option would let two servers share a port.
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(target)
        listener.listen(128)  # only now is the port surely nobody else's
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            received, remedy = f"{address}, which is in use", "Choose another port; port 0 takes a free one."
        elif error.errno == errno.EACCES:
            received, remedy = f"{address}, which needs more rights", "Choose a port of at least 1024."
        else:
            received, remedy = f"{address} ({error.strerror})", "Use 127.0.0.1 or 0.0.0.0 as the host."
        raise InputError("host and port", "an address to listen on", received, remedy) from error
    return listener


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does: KeyboardInterrupt, wherever the program is, even within an import."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def serve(config: ServeConfig, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve a model over HTTP until SIGTERM or Ctrl-C.

    The port is taken before the model is loaded, which takes seconds, and the model answers its own example
    before anybody asks it. When requests are answered, a line with the URL and a request to paste are printed.

    Args:
        config: The model and the address.
        on_ready: Called with the URL, http://host:port, as soon as requests are answered.

    Raises:
        InputError: If packages are missing, the address is not to be had, or the model cannot be loaded
            or does not answer its own example.

    Example:
        >>> serve(ServeConfig(model="saved_models/iris"))
    """
    _require_extra()
    find_version(config.model)  # a wrong path is told before anything else
    with (
        contextlib.suppress(KeyboardInterrupt),
        _termination_as_interrupt(),
        contextlib.closing(_listen(config.host, config.port)) as listener,
    ):
        _serve(config, listener, on_ready)


def _warm_up(artefact: Artefact) -> None:
    """Answer one request: TensorFlow prepares a signature at its first call, which takes a hundred times as long."""
    from kerasbn.serving import json_format  # here: needs the extra

    if "serving_default" not in artefact.signatures:
        return
    try:
        request = {"instances": [sample_instance(artefact)]}
        arrays, _ = json_format.read_request(request, artefact.signatures["serving_default"].inputs)
        json_format.write_reply(artefact.call("serving_default", arrays), row_format=True)
    except RequestError as error:
        # Without an example the request is made of zeros, which a model of other origin may well refuse.
        if artefact.description.get("example") is not None:
            raise InputError(
                "model",
                f"an answer to the example in {str(artefact.path / layout.DESCRIPTION)!r}",
                error.message.rstrip("."),
                "Export it again with `kerasbn export`.",
            ) from error


def _serve(config: ServeConfig, listener: socket.socket, on_ready: Callable[[str], None] | None) -> None:
    import uvicorn  # here: an extra

    artefact = load_artefact(config.model, name=config.name)
    _warm_up(artefact)
    host = f"[{config.host}]" if ":" in config.host else config.host
    url = f"http://{host}:{listener.getsockname()[1]}"

    class Server(uvicorn.Server):
        """Says when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            place = f"{url}/v1/models/{urllib.parse.quote(artefact.name)}"
            print(
                f"Serving {artefact.name}, version {artefact.version}, at {place} "
                f"(Ctrl-C ends it)\n{sample_request(artefact, url)}",
                flush=True,
            )
            if on_ready is not None:
                on_ready(url)

    settings = uvicorn.Config(
        make_app(artefact),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    Server(settings).run(sockets=[listener])
