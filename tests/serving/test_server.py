"""The HTTP server, over a real socket on the loopback interface."""

import concurrent.futures
import contextlib
import dataclasses
import gzip
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import uvicorn
from PIL import Image

from kerasbn.serving import make_app, sample_request, server

ONE = {"instances": [[5.1, 3.5, 1.4, 0.2]]}


@contextlib.contextmanager
def running(app):
    """Serve an application from a thread; yields its URL."""
    with server._listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # or asyncio lets every second reply wait for 40 ms
        settings = uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=2)
        web = uvicorn.Server(settings)
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            web.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def url(iris):
    with running(make_app(iris, max_request_bytes=100_000)) as url:
        yield url


@pytest.fixture(scope="module")
def people_url(people):
    with running(make_app(people)) as url:
        yield url


def ask(url, body=None, method=None, headers=None):
    """Return the status and the JSON of a reply."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.headers["content-type"] == "application/json"
            return reply.status, json.loads(reply.read() or "null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_predict(url, iris):
    values = np.float32([[5.1, 3.5, 1.4, 0.2], [6, 3, 4, 1]])
    expected = iris.call("serving_default", {"inputs": values})["probabilities"]
    target = f"{url}/v1/models/iris:predict"
    status, reply = ask(target, {"instances": values.tolist()})
    assert status == 200
    np.testing.assert_allclose(reply["predictions"], expected, atol=1e-6)
    status, reply = ask(target, {"inputs": values.tolist()})
    np.testing.assert_allclose(reply["outputs"], expected, atol=1e-6)
    status, reply = ask(f"{url}/V1/models/iris/VERSIONS/2:Predict", {**ONE, "signature_name": "logits"})
    logits = iris.call("logits", {"inputs": values[:1]})["logits"]
    np.testing.assert_allclose(reply["predictions"], logits, atol=1e-6)


def test_predict_table(people_url):
    target = f"{people_url}/v1/models/people:predict"
    rows = [
        {"sepal length (cm)": 0.5, "code": "1", "member": "True"},
        {"sepal length (cm)": 1, "code": "", "member": "x"},
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    by_row = ask(target, {"instances": rows})[1]["predictions"]
    by_column = ask(target, {"inputs": columns})[1]["outputs"]
    assert by_row == by_column
    assert np.shape(by_row) == (2, 2)
    status, reply = ask(target, {"instances": [{"code": "1"}]})
    assert status == 400
    assert reply["error"].endswith("keys must be equal to: code,member,sepal length (cm)")
    status, reply = ask(target, {"instances": [{"b64": ""}]})
    assert status == 400
    assert reply["error"].startswith("instances is a plain list, but expecting list of objects")


def test_gzip_and_query(url):
    body = gzip.compress(json.dumps(ONE).encode())
    target = f"{url}/v1/models/iris:predict?x=1"
    assert ask(target, body, headers={"Content-Encoding": "gzip"})[0] == 200
    assert ask(target, b"junk", headers={"Content-Encoding": "gzip"})[0] == 400
    assert ask(target, body[:-9], headers={"Content-Encoding": "gzip"})[0] == 400


def test_status(url):
    available = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("", "/versions/2", "/labels/stable"):
        assert ask(f"{url}/v1/models/iris{path}") == (200, {"model_version_status": [available]})


def test_metadata(url, people_url):
    status, reply = ask(f"{url}/v1/models/iris/versions/2/metadata")
    assert status == 200
    assert reply["model_spec"] == {"name": "iris", "signature_name": "", "version": "2"}
    signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
    sizes = [{"size": "-1", "name": ""}, {"size": "4", "name": ""}]
    assert signature["inputs"] == {
        "inputs": {
            "dtype": "DT_FLOAT",
            "tensor_shape": {"dim": sizes, "unknown_rank": False},
            "name": "serving_default_inputs:0",
        }
    }
    assert set(signature["outputs"]) == {"probabilities"}
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}
    signatures = ask(f"{people_url}/v1/models/people/metadata")[1]["metadata"]["signature_def"]["signature_def"]
    assert set(signatures["logits"]["inputs"]) == {"sepal length (cm)", "code", "member"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/v1/models", None, 400, "Missing model name in request."),
        ("GET", "/v1/models/other", None, 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/iris/versions/1", None, 404, "Could not find version 1 of model iris"),
        ("GET", "/v1/models/other/metadata", None, 404, "Servable not found for request: Latest(other)"),
        ("GET", "/v1/models/iris:predict", None, 400, "Malformed request: GET /v1/models/iris:predict"),
        ("POST", "/v1/models/iris", ONE, 400, "Malformed request: POST /v1/models/iris"),
        ("POST", "/v1/models/iris:explain", ONE, 400, "Malformed request: POST /v1/models/iris:explain"),
        ("DELETE", "/v1/models/iris", None, 400, "Malformed request: DELETE /v1/models/iris"),
        ("OPTIONS", "/v1/models/iris", None, 400, "Malformed request: OPTIONS /v1/models/iris"),
        ("GET", "/v1/", None, 400, "Malformed request: GET /v1/"),
        ("POST", "/v1/models/other:predict", ONE, 404, "Servable not found for request: Latest(other)"),
        ("POST", "/v1/models/a%20b:predict", ONE, 404, "Servable not found for request: Latest(a b)"),
        (
            "POST",
            "/v1/models/iris/versions/3:predict",
            ONE,
            404,
            "Servable not found for request: Specific(iris, 3)",
        ),
        (
            "POST",
            f"/v1/models/iris/versions/{'9' * 20}:predict",
            ONE,
            400,
            f"Failed to convert version: {'9' * 20} to numeric.",
        ),
        ("POST", "/v1/models/iris/labels/x:predict", ONE, 400, "Unrecognized servable version label: x"),
        (
            "POST",
            "/v1/models/iris:predict",
            {**ONE, "signature_name": "x"},
            400,
            'Serving signature name: "x" not found in signature def',
        ),
        ("POST", "/v1/models/other:predict", b"", 400, "JSON Parse error: The document is empty"),
        (
            "POST",
            "/v1/models/iris:predict",
            {"inputs": [[1, 2]]},
            400,
            "Input 'inputs': expected shape [-1,4] (-1: any size); received [1,2].",
        ),
        ("POST", "/v1/models/iris:classify", ONE, 501, "classify is not served here; use predict."),
        (
            "POST",
            "/v1/models/iris:predict",
            b" " * 100_001,
            413,
            "Request body is larger than 100000 bytes. Send fewer instances in a request.",
        ),
    ],
)
def test_errors(url, method, path, body, status, message):
    assert ask(url + path, body, method) == (status, {"error": message})


def test_body_without_length_is_limited(url):
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        chunks = (b" " * 10_000 for _ in range(11))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/v1/models/iris:predict", chunks, encode_chunked=True,
                               headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        assert connection.getresponse().status == 413
    bomb = gzip.compress(b" " * 100_001)
    assert ask(f"{url}/v1/models/iris:predict", bomb, headers={"Content-Encoding": "gzip"})[0] == 413


def test_unforeseen_failure(iris, capsys):
    def broken(signature, inputs):
        raise ZeroDivisionError("in the engine")

    with running(make_app(dataclasses.replace(iris, call=broken))) as url:
        reply = ask(f"{url}/v1/models/iris:predict", ONE)
        assert reply == (500, {"error": "ZeroDivisionError on the server"})
        assert ask(f"{url}/v1/models/iris")[0] == 200
    assert "ZeroDivisionError: in the engine" in capsys.readouterr().err


def test_options_and_other_paths(url):
    assert ask(f"{url}/v1/models/iris", method="OPTIONS", headers={"Origin": "https://a.b"}) == (200, None)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/", timeout=10)
    with caught.value as error:
        assert error.code == 404
        assert error.headers["content-type"].startswith("text/html")


def test_many_at_once(url, iris):
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    expected = iris.call("serving_default", {"inputs": rows})["probabilities"]

    def send(row):
        return ask(f"{url}/v1/models/iris:predict", {"instances": [row.tolist()]})[1]["predictions"][0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        np.testing.assert_allclose(list(pool.map(send, rows)), expected, atol=1e-6)


def test_sample_requests(iris, people, faces, tmp_path):
    assert sample_request.sample_request(iris, "http://h:1") == (
        "curl -d '{\"instances\": [[5.1, 3.5, 1.4, 0.2]]}' http://h:1/v1/models/iris:predict"
    )
    command = sample_request.sample_request(people, "http://h:1")
    words = shlex.split(command)
    assert json.loads(words[2]) == {"instances": [{"sepal length (cm)": 0.1, "code": "it's 1", "member": "True"}]}
    python, curl = sample_request.sample_request(faces, "http://h:1").splitlines()
    assert curl == "curl -d @request.json http://h:1/v1/models/faces:predict"
    Image.new("L", (30, 10), 7).save(tmp_path / "image.png")
    words = [sys.executable, *shlex.split(python)[1:]]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    instances = json.loads((tmp_path / "request.json").read_text())["instances"]
    assert np.array_equal(instances, np.full((1, 20, 24, 3), 7))


@pytest.mark.slow
def test_process_ends_cleanly(python, models, tmp_path):
    code = (
        "from kerasbn.config import ServeConfig; from kerasbn.serving import serve; "
        f"config = ServeConfig(model={str(models / 'iris')!r}, port=0); "
        "serve(config, on_ready=lambda url: print('READY', url, flush=True)); "
        "print('ended')"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            [*python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:  # fmt: skip
            try:
                first, command, ready = (process.stdout.readline().rstrip("\n") for _ in range(3))
                url = ready.removeprefix("READY ")
                assert first == f"Serving iris, version 2, at {url}/v1/models/iris (Ctrl-C ends it)"
                words = shlex.split(command)
                assert words[:2] == ["curl", "-d"]
                assert ask(words[3], words[2].encode())[0] == 200
                process.send_signal(number)
                output, errors = process.communicate(timeout=20)
            finally:
                process.kill()
        assert (process.returncode, output) == (0, "ended\n"), errors
        assert "Traceback" not in errors
