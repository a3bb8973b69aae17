"""Tests of the command line: what it loads, prints and takes; configs, options, and which wins."""

import json
import re
import subprocess
import sys

import pytest
import yaml

import kerasbn
from kerasbn import cli
from kerasbn.config import (
    ConvNetConfig,
    DataConfig,
    ExportConfig,
    MLPConfig,
    PredictConfig,
    ResNetConfig,
    ServeConfig,
    TrainConfig,
    TuneConfig,
    from_dict,
    to_dict,
)

COMMANDS = {
    "train": (TrainConfig, []),
    "tune": (TuneConfig, []),
    "export": (ExportConfig, ["runs/a/b"]),
    "serve": (ServeConfig, ["saved_models/a"]),
    "predict": (PredictConfig, ["saved_models/a", "a.csv"]),
}
HEAVY = ("tensorflow", "keras", "numpy", "pandas", "sklearn", "matplotlib", "PIL", "scipy", "optuna", "keras_tuner",
         "starlette", "uvicorn", "rich")  # fmt: skip


def loaded_by(code):
    """Return which of the heavy libraries a fresh interpreter has loaded after some code."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import kerasbn; kerasbn.__version__; dir(kerasbn)",
        "import kerasbn.cli",
        "from kerasbn.cli import main; main(['--help'])",
        "from kerasbn.cli import main; main(['--version'])",
        "from kerasbn.cli import main; main(['train', '--print-config'])",
        "from kerasbn.cli import main\ntry: main(['tune', '--help'])\nexcept SystemExit: pass",
        "from kerasbn.cli import main; main(['train', '--training.epoch', '3'])",
    ],
)
def test_what_needs_no_tensorflow_loads_none(code):
    assert loaded_by(code) == []


def print_config(capsys, *argv):
    assert cli.main([*argv, "--print-config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_print_config_is_a_config(command, capsys, tmp_path):
    kind, positional = COMMANDS[command]
    assert cli.main([command, *positional, "--print-config"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    first = yaml.safe_load(captured.out)
    required = dict(zip(("run",) if command == "export" else ("model", "input"), positional, strict=False))
    assert from_dict(kind, first) == kind(**required)
    (tmp_path / "c.yaml").write_text(captured.out)
    assert print_config(capsys, command, "--config", str(tmp_path / "c.yaml")) == first


@pytest.mark.parametrize("model", [MLPConfig(), ConvNetConfig(), ResNetConfig()])
def test_print_config_of_each_family(model, capsys):
    assert from_dict(TrainConfig, print_config(capsys, "train", "--model.name", model.name)).model == model


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_every_key(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--config", "--print-config", "--debug"):
        assert option in text
    for key, value in to_dict(COMMANDS[command][0](*COMMANDS[command][1])).items():
        for name in (f"{key}.{inner}" for inner in value) if isinstance(value, dict) else (key,):
            assert (name in text) == (name != "format"), name  # which is of files


def test_usage_and_version(capsys):
    for argv in ([], ["--help"], ["-h"]):
        assert cli.main(argv) == 0
        text = capsys.readouterr().out
        assert all(f"\n  {command} " in text for command in COMMANDS)
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"kerasbn {kerasbn.__version__}\n"


def test_options_beat_the_file_and_the_file_beats_the_defaults(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("training: {epochs: 7, batch_size: 16}\nmodel: {name: resnet, depth: 14}\n")
    found = print_config(capsys, "train", "--config", str(tmp_path / "c.yaml"), "--training.epochs", "9")
    assert (found["training"]["epochs"], found["training"]["batch_size"], found["training"]["momentum"]) == (9, 16, 0.9)
    assert (found["model"]["name"], found["model"]["depth"], found["model"]["filters"]) == ("resnet", 14, 16)


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        (["--training.learning_rate", "1e-3"], "training.learning_rate", 1e-3),
        (["--training.learning_rate=.5"], "training.learning_rate", 0.5),
        (["--training.patience", "3"], "training.patience", 3),
        (["--training.patience", "null"], "training.patience", None),
        (["--training.class_weight", "true"], "training.class_weight", True),
        (["--training.optimizer", "sgd"], "training.optimizer", "sgd"),
        (["--model.units", "64,32"], "model.units", (64, 32)),
        (["--model.units", "[64, 32]"], "model.units", (64, 32)),
        (["--model.units", "64"], "model.units", (64,)),
        (["--model.units", "[]"], "model.units", ()),
        (["--model.units", ""], "model.units", ()),
        (["--data.drop", "a,b c"], "data.drop", ("a", "b c")),
        (["--data.drop", '["a,b", c]'], "data.drop", ("a,b", "c")),
        (["--data.drop", "7"], "data.drop", ("7",)),
        (["--data.drop", "no, null"], "data.drop", ("no", "null")),
        (["--data.drop", "größe"], "data.drop", ("größe",)),
        (["--data.image_size", "8,9"], "data.image_size", (8, 9)),
        (["--data.image_size", "null"], "data.image_size", None),
        (["--data.target", "7"], "data.target", "7"),
        (["--data.target", "null"], "data.target", None),
        (["--data.target", "yes: no"], "data.target", "yes: no"),
        (["--data.source", "a #b.csv"], "data.source", "a #b.csv"),
        (["--name", "2024"], "name", "2024"),
    ],
)
def test_options(capsys, option, path, value):
    found = from_dict(TrainConfig, print_config(capsys, "train", *option))
    for key in path.split("."):
        found = getattr(found, key)
    assert found == value


def test_options_of_a_search(capsys):
    found = print_config(capsys, "tune", "--search.tune", "units,dropout", "--search.momentum", "0.5,0.9")
    assert found["search"]["tune"] == ["units", "dropout"]
    assert found["search"]["momentum"] == [0.5, 0.9]


def test_positional_arguments_may_stand_in_the_file(capsys, tmp_path):
    (tmp_path / "c.yaml").write_text("run: runs/a/b\n")
    assert print_config(capsys, "export", "--config", str(tmp_path / "c.yaml"))["run"] == "runs/a/b"
    assert print_config(capsys, "export", "c/d", "--config", str(tmp_path / "c.yaml"))["run"] == "c/d"


def test_train_prints_what_to_do_next(capfd, tmp_path):
    argv = ["train", "--data.source", "iris", "--training.epochs", "2", "--output", str(tmp_path), "--model.units", "4"]
    assert cli.main(argv) == 0
    captured = capfd.readouterr()
    (directory,) = (tmp_path / "iris").iterdir()
    assert re.search(rf"^run +{directory}$", captured.out, re.MULTILINE)
    assert re.search(rf"^next +kerasbn export {directory}$", captured.out, re.MULTILINE)
    metrics = json.loads((directory / "metrics.json").read_text())
    assert f"{metrics['test']['accuracy']:.4f}" in captured.out
    assert [line.split("  ")[0] for line in captured.err.splitlines()] == [
        "106 training, 22 validation and 22 test examples of 3 classes, each 4",
        "training iris: epoch 1/2",
        "training iris: epoch 2/2",
    ]


def test_ctrl_c_has_an_exit_code_and_a_message(monkeypatch, capsys):
    def press(message):
        def run(argv):
            raise KeyboardInterrupt(*message)

        monkeypatch.setattr(cli, "_run", run)
        return cli.main(["train"]), capsys.readouterr().err

    assert press([]) == (130, "kerasbn: stopped\n")
    assert press(["Stopped in runs/a; nothing is kept yet."]) == (
        130,
        "kerasbn: Stopped in runs/a; nothing is kept yet.\n",
    )


def test_defects_are_not_swallowed(monkeypatch):
    def fail(argv):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["train"])


def test_list_of_sources_in_the_help_is_what_there_is():
    from kerasbn.data.sources import _BUNDLED, _KERAS

    text = cli.field_docs(DataConfig)["source"]
    assert all(name in text for name in (*_BUNDLED, *_KERAS))


def test_an_option_that_stands_twice(tmp_path, capsys):
    (tmp_path / "c.csv").write_text("a,b,c,y\n" + "".join(f"{i},{i},{i % 5},{'pq'[i % 2]}\n" for i in range(60)))
    source = ["--data.source", str(tmp_path / "c.csv"), "--data.target", "y", "--training.epochs", "1"]
    argv = ["train", *source, "--data.drop", "a", "--data.drop", "b", "--print-config"]
    assert cli.main(argv) == 0
    assert "drop: [a, b]" in capsys.readouterr().out
    assert cli.main(["train", "--training.epochs", "1", "--training.epochs", "2"]) == 2
    message = "kerasbn: --training.epochs: expected one value; received 2. Give it once.\n"
    assert capsys.readouterr().err == message


def test_the_columns_of_a_table_are_told(tmp_path, capfd):
    rows = "".join(f"{i},{'uvw'[i % 3]},{'pq'[i % 2]}\n" for i in range(60))
    (tmp_path / "c.csv").write_text("a,b,y\n" + rows)
    source = ["--data.source", str(tmp_path / "c.csv"), "--data.target", "y", "--training.epochs", "1"]
    assert cli.main(["train", *source, "--output", str(tmp_path / "runs")]) == 0
    told = "42 training, 9 validation and 9 test examples of 2 classes; columns: 1 numeric ('a'), 1 categorical ('b')"
    assert told in capfd.readouterr().err
