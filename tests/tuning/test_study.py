"""The study: settings, ranks, Optuna's own tools on it, and a journal that was torn."""

import math

import keras_tuner
import optuna
import pytest
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.checks import InputError
from kerasbn.tuning import Draws, Study, TrialRecord
from kerasbn.tuning.store.journal import distribution, repair
from kerasbn.tuning.store.study import LOCK

OBJECTIVE = keras_tuner.Objective("val_loss", "min")
SETTINGS = {"seed": 0, "fingerprint": {"content": "abc"}}


def hyperparameters(trial):
    hp = Draws(0, trial)
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("stepped", 0.0, 1.0, step=0.3)
    hp.Float("reverse", 0.9, 0.99, sampling="reverse_log")
    hp.Int("units", 3, 100, sampling="log")
    hp.Int("powers", 2, 64, step=2, sampling="log")
    hp.Int("stepped_int", 1, 10, step=4)
    hp.Choice("size", [32, 64])
    hp.Boolean("wide")
    hp.Fixed("fixed", "x")
    hp.Int("child", 1, 9, parent_name="size", parent_values=[32])
    return hp.copy()


def record(number, score=None):
    return TrialRecord(
        number=number,
        status="failed" if score is None else "completed",
        score=score,
        hyperparameters=hyperparameters(number),
        metrics={} if score is None else {"val_loss": score, "val_accuracy": 0.5},
        history=({"execution": 0, "epoch": 0, "val_loss": score or math.inf},),
        seconds=1.5,
        build_config={"input_shape": [None, 64]},
        traceback="" if score else "Traceback: boom",
    )


def filled(directory, scores=(2.0, None, 1.0, 3.0, 1.0, 4.0)):
    study = Study(directory, OBJECTIVE, SETTINGS)
    for number, score in enumerate(scores):
        study.add(record(number, score))
    return study


def plain(records):
    return [{**vars(r), "hyperparameters": r.hyperparameters.get_config()} for r in records]


def test_read_back_and_ranked(tmp_path):
    study = filled(tmp_path / "s")
    again = Study(tmp_path / "s", OBJECTIVE, SETTINGS)
    assert plain(again.trials) == plain(study.trials)
    assert [t.number for t in again.ranked] == [2, 4, 0, 3, 5, 1]
    assert again.ranked[-1].traceback == "Traceback: boom"


def test_the_directory_may_be_renamed(tmp_path):
    filled(tmp_path / "s")
    (tmp_path / "s").rename(tmp_path / "t")
    assert len(Study(tmp_path / "t", OBJECTIVE, SETTINGS).trials) == 6


def test_optunas_own_analysis(tmp_path):
    study = filled(tmp_path).optuna
    table = study.trials_dataframe()
    assert list(table["state"]) == ["COMPLETE", "FAIL", *["COMPLETE"] * 4]
    assert table["duration"].dt.total_seconds().tolist() == pytest.approx([1.5] * 6, abs=0.1)
    assert study.best_trial.number == 2
    assert study.trials[0].intermediate_values == {0: 2.0}
    assert {"rate", "units"} <= set(optuna.importance.get_param_importances(study))


def test_optuna_is_as_talkative_as_before(tmp_path, capfd):
    before = optuna.logging.get_verbosity()
    filled(tmp_path)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("hyperparameter", "expected"),
    [
        (kinds.Float("x", 1e-4, 1.0, sampling="log"), optuna.distributions.FloatDistribution(1e-4, 1.0, log=True)),
        (kinds.Float("x", 0.0, 1.0, step=0.3), optuna.distributions.FloatDistribution(0.0, 0.9, step=0.3)),
        (kinds.Float("x", 0.5, 0.9, sampling="reverse_log"), optuna.distributions.FloatDistribution(0.5, 0.9)),
        (kinds.Int("x", 1, 9), optuna.distributions.IntDistribution(1, 9)),
        (kinds.Int("x", 1, 10, step=4), optuna.distributions.IntDistribution(1, 9, step=4)),
        (kinds.Int("x", 1, 9, sampling="log"), optuna.distributions.IntDistribution(1, 9, log=True)),
        (kinds.Choice("x", ["a", "b"]), optuna.distributions.CategoricalDistribution(("a", "b"))),
        (kinds.Boolean("x"), optuna.distributions.CategoricalDistribution((True, False))),
        (kinds.Fixed("x", 3), optuna.distributions.CategoricalDistribution((3,))),
    ],
    ids=repr,
)
def test_distribution(hyperparameter, expected):
    assert distribution(hyperparameter) == expected


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 1}, "seed 1 instead of 0"),
        ({"strategy": {"name": "grid"}}, "strategy.name 'grid' instead of 'random'"),
        ({"fingerprint": {"content": "xyz"}}, "content 'xyz' instead of 'abc'"),
        ({"seed": 5, "fingerprint": None}, "seed 5 instead of 0, fingerprint None instead of {'content': 'abc'}"),
    ],
)
def test_other_settings_are_refused(tmp_path, change, difference):
    filled(tmp_path / "s", [1.0])
    with pytest.raises(InputError) as caught:
        Study(tmp_path / "s", OBJECTIVE, SETTINGS | change)
    assert str(caught.value) == (
        f"The study {tmp_path / 's'}: expected the settings it was started with; received {difference}. Choose another "
        "name for the new settings (--name NEW on the command line, project_name in Python), or delete that study."
    )
    assert Study(tmp_path / "s", OBJECTIVE, SETTINGS | change, overwrite=True).trials == []


def test_seed_none_is_the_stored_one(tmp_path):
    settings = {**SETTINGS, "seed": None}
    assert Study(tmp_path, OBJECTIVE, settings, new_seed=77).seed == 77
    assert Study(tmp_path, OBJECTIVE, settings, new_seed=88).seed == 77


def test_killed_before_the_settings(tmp_path):
    study = Study(tmp_path, OBJECTIVE, SETTINGS)
    lines = (tmp_path / "journal.log").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal.log").write_bytes(lines[0])  # the study, without its settings
    study = Study(tmp_path, OBJECTIVE, SETTINGS)
    objective = {"name": "val_loss", "direction": "min"}
    assert study.settings == SETTINGS | {"objective": objective, "strategy": {"name": "random"}}
    study.add(record(0, 1.0))
    assert len(Study(tmp_path, OBJECTIVE, SETTINGS).trials) == 1


@pytest.mark.parametrize("cut", [1, 2, 40, 300])
def test_a_torn_line_is_cut(tmp_path, cut):
    filled(tmp_path, [2.0, 1.0])
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    study = Study(tmp_path, OBJECTIVE, SETTINGS)
    assert [t.score for t in study.trials] == [2.0]
    study.add(record(1, 1.0))
    assert [t.score for t in Study(tmp_path, OBJECTIVE, SETTINGS).trials] == [2.0, 1.0]
    assert repair(path) == 0


def test_leftovers_of_a_killed_process_go(tmp_path):
    filled(tmp_path, [1.0])
    (tmp_path / ".tmp-1234abcd-trial-00000.npz").touch()
    Study(tmp_path, OBJECTIVE, SETTINGS)
    assert (tmp_path / ".tmp-1234abcd-trial-00000.npz").exists()  # who only reads does not know whose it is
    with Study(tmp_path, OBJECTIVE, SETTINGS).exclusive():
        assert sorted(p.name for p in tmp_path.iterdir()) == [LOCK, "journal.log"]


def test_one_search_at_a_time(tmp_path):
    first, second = (filled(tmp_path / "s", ()) for _ in range(2))
    with first.exclusive(), first.exclusive():  # nested
        first.add(record(0, 1.0))
        for refused in (second.exclusive, lambda: Study(tmp_path / "s", OBJECTIVE, SETTINGS, overwrite=True)):
            with pytest.raises(InputError) as caught, refused():
                pass
            assert str(caught.value) == (
                f"The study {tmp_path / 's'}: expected one search at a time in it; received a second one while another "
                "is running. Wait until that has ended, or choose another name (--name NEW on the command line, "
                "project_name in Python). Several at once can work on a study in a database: --search.storage, "
                "storage in Python."
            )
        assert len(Study(tmp_path / "s", OBJECTIVE, SETTINGS).trials) == 1  # to read it takes no lock
    with second.exclusive():
        assert [t.number for t in second.trials] == [0]
        second.add(record(1, 2.0))
    with first.exclusive():
        assert [t.number for t in first.trials] == [0, 1]


def test_begun_anew_by_somebody_else(tmp_path):
    study = filled(tmp_path, [1.0])
    Study(tmp_path, OBJECTIVE, SETTINGS | {"seed": 7}, overwrite=True)
    with pytest.raises(InputError, match="received seed 0 instead of 7"), study.exclusive():
        pass


@pytest.mark.parametrize(
    ("damage", "received"),
    [
        (lambda text: "\x00\x01 noise\nmore noise", r"b'\\x00\\x01 noise' in its first line"),
        (lambda text: text.replace("\n", "\n{no json}\n", 1), "JSONDecodeError"),
        (lambda text: text.replace("\n", '\n{"a": 1}\n', 1), "KeyError"),
    ],
)
def test_a_journal_that_is_none_is_refused_and_left_as_it_is(search_digits, tmp_path, damage, received):
    search_digits(1)
    path = tmp_path / "p" / "journal.log"
    path.write_text(damage(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"study: expected a readable journal in .*journal.log'; received {received}"):
        search_digits(2)
    assert path.read_bytes() == before
