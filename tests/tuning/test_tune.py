"""tune: from a config to a study, best.yaml and trials.csv; resumed, extended, refused, killed."""

import contextlib
import dataclasses
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest

from kerasbn import config as configs
from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TrainConfig, TrainingConfig, TuneConfig
from kerasbn.tuning import read_study, tune


@pytest.fixture
def config(tmp_path):
    return TuneConfig(
        data=DataConfig(source="iris"),
        model=MLPConfig(units=(8,)),
        training=TrainingConfig(epochs=9),
        search=SearchConfig(max_trials=3, epochs=2, units=(4, 16), output=str(tmp_path / "studies")),
    )


def searched(config, **changes):
    return dataclasses.replace(config, search=dataclasses.replace(config.search, **changes))


def quiet(record):
    pass


def table(directory):
    return pd.read_csv(directory / "trials.csv").drop(columns="seconds")


def test_files_and_result(config, tmp_path):
    seen = []
    result = tune(config, on_trial=seen.append)
    assert result.directory == tmp_path / "studies" / "iris"
    weights = [f"trial-{result.best.number:05d}.npz"]
    assert sorted(p.name for p in result.directory.iterdir()) == sorted(
        [".lock", "best.yaml", "data.json", "journal.log", "search.yaml", "trials.csv", *weights]
    )
    assert [r.number for r in seen] == [0, 1, 2]
    assert result.best is result.trials[0]
    assert result.note == ""
    best = configs.read_config(TrainConfig, result.directory / "best.yaml")
    assert best == result.best_config
    values = result.best.hyperparameters.values
    assert best.training.epochs == 9
    assert best.training.learning_rate == values["learning_rate"]
    assert best.model.units == tuple(values[f"units_{i}"] for i in range(1, values["layers"] + 1))
    trials = pd.read_csv(result.directory / "trials.csv", dtype=str)
    assert list(trials.columns[:5]) == ["number", "status", "score", "epochs", "seconds"]
    assert trials["number"].tolist() == [str(t.number) for t in result.trials]
    assert trials["score"].astype(float).tolist() == [t.score for t in result.trials]
    assert set(trials.columns[5:]) == set().union(*(t.hyperparameters.values for t in result.trials))
    assert trials["units_1"].str.fullmatch(r"\d+").all()


def test_extended_is_straight(config, tmp_path):
    straight = tune(searched(config, max_trials=2, output=str(tmp_path / "other")), on_trial=quiet)
    assert tune(searched(config, max_trials=1), on_trial=quiet).earlier == 0
    extended = tune(searched(config, max_trials=2), on_trial=quiet)
    assert extended.earlier == 1
    pd.testing.assert_frame_equal(table(extended.directory), table(straight.directory))
    assert (extended.directory / "best.yaml").read_text() == (straight.directory / "best.yaml").read_text().replace(
        "other", "studies"
    )


def test_again_does_nothing_but_takes_new_epochs(config, capsys):
    config = searched(config, max_trials=2)
    first = tune(config)
    capsys.readouterr()
    longer = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=20))
    again = tune(longer)
    assert capsys.readouterr().out == "All 2 trials were there already.\n"
    assert [t.score for t in again.trials] == [t.score for t in first.trials]
    assert configs.read_config(TrainConfig, again.directory / "best.yaml").training.epochs == 20


def test_other_settings_are_refused_until_overwritten(config):
    config = dataclasses.replace(searched(config, max_trials=1), name="s")
    tune(config, on_trial=quiet)
    changes = [
        ("search", {"units": (4, 32)}, "received search.units [4, 32] instead of [4, 16]."),
        ("search", {"seed": 3}, "received seed 3 instead of 0."),
        ("data", {"seed": 5}, "received data.seed 5 instead of 0."),
        ("data", {"source": "wine"}, "received data.content '"),
        ("training", {"optimizer": "sgd"}, "received training.optimizer 'sgd' instead of 'adam'."),
    ]
    for section, change, difference in changes:
        changed = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **change)})
        with pytest.raises(InputError) as caught:
            tune(changed, on_trial=quiet)
        assert difference in str(caught.value)
        assert "Choose another name for the new settings (--name NEW on the command line" in str(caught.value)
    assert [t.status for t in tune(changed, on_trial=quiet, overwrite=True).trials] == ["completed"]


def test_ctrl_c_leaves_the_files(config):
    def stop(record):
        if record.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(config, on_trial=stop)
    directory = tune(searched(config, max_trials=2), on_trial=quiet).directory
    assert len(table(directory)) == 2


def test_nothing_but_failures_is_an_error_each_time(config, monkeypatch):
    def boom(*args, **kwargs):
        raise ValueError("boom")

    config = searched(config, max_trials=2)
    monkeypatch.setattr("kerasbn.training.compile_model", boom)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"All 2 trials failed, the first one with:\nTraceback"):
            tune(config, on_trial=quiet)
    monkeypatch.undo()
    again = tune(searched(config, max_trials=1), on_trial=quiet, overwrite=True)
    assert [t.status for t in again.trials] == ["completed"]


def test_decay_that_cannot_be_tuned_is_refused_before_anything(config, tmp_path):
    wrong = dataclasses.replace(config, training=TrainingConfig(decay="exponential"))
    wrong = searched(wrong, tune=("decay_rate",))
    with pytest.raises(InputError, match=r"^training\.decay: expected inverse_time"):
        tune(wrong)
    assert not (tmp_path / "studies").exists()


def test_bad_data_leaves_nothing(config, tmp_path):
    with pytest.raises(InputError, match=r"^data\.source: expected"):
        tune(dataclasses.replace(config, data=DataConfig(source=str(tmp_path / "none.csv"), target="y")))
    assert list(tmp_path.iterdir()) == []


def test_weights_are_kept_once(config, monkeypatch):
    kept = []

    def count(self, epoch, logs=None):
        kept.append(self)
        compare(self, epoch, logs)

    compare = KeepBest.on_epoch_end
    monkeypatch.setattr(KeepBest, "on_epoch_end", count)
    patient = dataclasses.replace(config, training=dataclasses.replace(config.training, patience=1))
    tune(searched(patient, max_trials=1), on_trial=quiet)
    assert len(kept) == 2
    assert kept[0].patience == 1


@pytest.mark.slow
def test_kill_9(python, config, tmp_path):
    configs.write_config(searched(config, max_trials=50), tmp_path / "tune.yaml")
    code = (
        "import sys; from kerasbn.config import TuneConfig, read_config; from kerasbn.tuning import tune;"
        "tune(read_config(TuneConfig, sys.argv[1]))"
    )
    command = [*python, "-c", code, str(tmp_path / "tune.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    journal = tmp_path / "studies" / "iris" / "journal.log"
    try:
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b'"op_code":4') < 1:  # a trial
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(InputError, match="one search at a time in it; received a second one while another is"):
            tune(searched(config, max_trials=3), on_trial=quiet, overwrite=True)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker')  # and the line that it may have been writing
    with contextlib.suppress(FileNotFoundError):
        (journal.parent / "journal.log.lock").unlink()
    trials = len(read_study(journal.parent).trials) + 1  # one more than it finished
    resumed = tune(searched(config, max_trials=trials), on_trial=quiet)
    straight = tune(searched(config, max_trials=trials, output=str(tmp_path / "other")), on_trial=quiet)
    assert resumed.earlier == trials - 1 >= 1
    pd.testing.assert_frame_equal(table(resumed.directory), table(straight.directory))
    ours, theirs = (np.load(next(r.directory.glob("trial-*.npz"))) for r in (resumed, straight))
    with ours, theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
