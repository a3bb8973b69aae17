"""TensorFlow Serving's REST routes as a Starlette application: predict, status and metadata."""

import json
import re
import urllib.parse
import zlib
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from kerasbn.serving import json_format
from kerasbn.serving.artefact import Artefact
from kerasbn.serving.errors import RequestError
from kerasbn.serving.json_parse import parse_json

# https://github.com/tensorflow/serving, model_servers/http_rest_api_util.cc
_POST = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.IGNORECASE
)
_GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE)
_NOT_FOUND = "<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>"


class _TooLargeError(Exception):
    """The body is longer than the server takes."""


async def _body(request: Request, limit: int) -> bytes:
    """Return a request's body, unpacked if it is gzipped, without ever holding more than `limit` bytes."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise _TooLargeError
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise _TooLargeError
    if request.headers.get("content-encoding", "").lower() != "gzip":
        return bytes(received)
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(bytes(received), limit + 1)
    except zlib.error as error:
        raise RequestError(f"Failed to decompress the gzip body: {error}") from error
    if len(content) > limit:
        raise _TooLargeError
    if not unpacker.eof:
        raise RequestError("Failed to decompress the gzip body: it is cut short")
    return content


def _json(value: Any, status: int = 200, indent: int = 1) -> Response:
    return Response(json.dumps(value, indent=indent) + "\n", status, media_type="application/json")


def _version(digits: str | None) -> int | None:
    if digits is None:
        return None
    if int(digits[:20]) >= 2**63:
        raise RequestError(f"Failed to convert version: {digits} to numeric.")
    return int(digits)


def _check_model(artefact: Artefact, name: str, version: int | None, label: str | None) -> None:
    """Raise the error of a model, version or label that is not served."""
    if name == artefact.name and label is not None:
        raise RequestError(f"Unrecognized servable version label: {label}")
    if name != artefact.name or version not in (None, artefact.version):
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise RequestError(f"Servable not found for request: {wanted}", "NOT_FOUND")


def _predict(artefact: Artefact, name: str, version: int | None, label: str | None, body: bytes) -> bytes:
    document = parse_json(body)
    signature = json_format.signature_name(document)
    _check_model(artefact, name, version, label)
    if signature not in artefact.signatures:
        raise RequestError(f'Serving signature name: "{signature}" not found in signature def')
    inputs = artefact.signatures[signature].inputs
    if not inputs:
        raise RequestError(f"Failed to get input map for signature: {signature}")
    arrays, row_format = json_format.read_request(document, inputs)
    return json_format.write_reply(artefact.call(signature, arrays), row_format)


def _status(artefact: Artefact, name: str, version: int | None) -> Mapping[str, Any]:
    if name != artefact.name:
        raise RequestError(f"Could not find any versions of model {name}", "NOT_FOUND")
    if version not in (None, artefact.version):
        raise RequestError(f"Could not find version {version} of model {name}", "NOT_FOUND")
    available = {
        "version": str(artefact.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return {"model_version_status": [available]}


def _metadata(artefact: Artefact) -> Mapping[str, Any]:
    spec = {"name": artefact.name, "signature_name": "", "version": str(artefact.version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": artefact.metadata}}}


async def _answer(artefact: Artefact, request: Request, path: str, max_request_bytes: int) -> Response:
    match = {"POST": _POST, "GET": _GET}.get(request.method, re.compile(r"(?!)")).fullmatch(path)
    if request.method == "OPTIONS" and request.headers.get("origin", "").startswith(("http://", "https://")):
        return Response(media_type="application/json")
    if match is None:
        raise RequestError(f"Malformed request: {request.method} {path}")
    name, digits, label, kind = match.groups()
    if name is None:
        raise RequestError("Missing model name in request.")
    name, label = urllib.parse.unquote(name), label and urllib.parse.unquote(label)
    version = _version(digits)
    if request.method == "GET" and kind is None:
        return _json(_status(artefact, name, version))
    if request.method == "GET":
        _check_model(artefact, name, version, label)
        return _json(_metadata(artefact))
    if kind.lower() != "predict":
        raise RequestError(f"{kind.lower()} is not served here; use predict.", "UNIMPLEMENTED")
    body = await _body(request, max_request_bytes)
    # In a thread, parsing and writing included: the event loop goes on taking requests in the meantime.
    reply = await run_in_threadpool(_predict, artefact, name, version, label, body)
    return Response(reply, media_type="application/json")


def routes(artefact: Artefact, max_request_bytes: int) -> Starlette:
    """Return the application that serves one version of one model.

    Args:
        artefact: The model.
        max_request_bytes: Longest body taken, in bytes, unpacked.

    Returns:
        An ASGI application.
    """

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # As it came: Starlette's own path has its %2F and %3A unescaped already.
        path = scope["raw_path"].decode("latin-1").partition("?")[0]
        response: Response
        if not path.lower().startswith("/v1/"):
            response = HTMLResponse(_NOT_FOUND, 404)
        else:
            try:
                response = await _answer(artefact, request, path, max_request_bytes)
            except RequestError as error:
                response = _json({"error": error.message}, error.http_code, indent=4)
            except _TooLargeError:
                message = f"Request body is larger than {max_request_bytes} bytes. Send fewer instances in a request."
                response = _json({"error": message}, 413, indent=4)
                response.headers["connection"] = "close"  # the rest of the body is never read
            except ClientDisconnect:
                return
        await response(scope, receive, send)

    async def failed(request: Request, error: Exception) -> Response:
        return _json({"error": f"{type(error).__name__} on the server"}, 500, indent=4)

    # Starlette raises the error again after the reply, so that its traceback is in the server's log.
    return Starlette(routes=[Mount("/", app=application)], exception_handlers={500: failed})
