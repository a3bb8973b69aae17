"""Starting the server: an address of its own, and a model that answers."""

import dataclasses
import json
import shutil
import socket

import pytest

from kerasbn.checks import InputError
from kerasbn.config import ServeConfig
from kerasbn.serving import make_app, serve, server
from kerasbn.serving.errors import RequestError


def test_port_in_use(models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError) as caught:
            serve(ServeConfig(model=str(models / "iris"), port=port))
    assert str(caught.value) == (
        f"host and port: expected an address to listen on; received 127.0.0.1:{port}, which is in use. "
        "Choose another port; port 0 takes a free one."
    )


def test_host_that_is_not_ours(models):
    with pytest.raises(InputError, match=r"host and port: .*; received 192\.0\.2\.1:0 \("):
        serve(ServeConfig(model=str(models / "iris"), host="192.0.2.1", port=0))
    with pytest.raises(InputError, match="host: expected an address of this machine; received 'no such host'"):
        serve(ServeConfig(model=str(models / "iris"), host="no such host", port=0))


@pytest.mark.parametrize("host", ["\xe4" * 70, "a" * 70 + ".org", "..."])
def test_host_that_is_no_name(models, host):
    with pytest.raises(InputError) as caught:
        serve(ServeConfig(model=str(models / "iris"), host=host, port=0))
    assert str(caught.value).startswith(f"host: expected an address of this machine; received {host!r} (")


def test_port_is_shared_only_with_servers_that_have_ended(monkeypatch):
    with server._listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0
    monkeypatch.setattr(server.os, "name", "nt")  # where the option means another thing
    with server._listen("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


def test_first_request_is_the_servers_own(iris, people, faces):
    for artefact in (iris, people, faces):
        calls = []

        def call(signature, inputs, call=artefact.call, calls=calls):
            calls.append((signature, {name: array.shape for name, array in inputs.items()}))
            return call(signature, inputs)

        server._warm_up(dataclasses.replace(artefact, call=call))
        shapes = {name: (1, *info.shape[1:]) for name, info in artefact.signatures["serving_default"].inputs.items()}
        assert calls == [("serving_default", shapes)]


def test_artefact_that_does_not_answer_its_own_example(models, iris, tmp_path):
    shutil.copytree(models / "iris" / "1", tmp_path / "m" / "1")
    file = tmp_path / "m" / "1" / "assets.extra" / "description.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "example": [1, 2, 3]}))
    with pytest.raises(InputError) as caught:
        serve(ServeConfig(model=str(tmp_path / "m"), port=0))
    assert str(caught.value) == (
        f"model: expected an answer to the example in {str(file)!r}; received Input 'inputs': expected shape [-1,4] "
        "(-1: any size); received [1,3]. Export it again with `kerasbn export`."
    )

    def refuse(signature, inputs):
        raise RequestError("zeros are no JPEG")

    server._warm_up(dataclasses.replace(iris, description={}, call=refuse))  # of another origin: no example
    server._warm_up(dataclasses.replace(iris, signatures={"other": iris.signatures["logits"]}, call=refuse))


def test_missing_model(tmp_path):
    with pytest.raises(InputError, match="model: expected a directory of a model's versions"):
        serve(ServeConfig(model=str(tmp_path / "none")))


def test_missing_packages(iris, monkeypatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None if name == "orjson" else name)
    with pytest.raises(InputError) as caught:
        make_app(iris)
    assert str(caught.value) == (
        "serve: expected the packages starlette, uvicorn, orjson; received no orjson. "
        'Install them with `pip install "kerasbn[serving]"`.'
    )
