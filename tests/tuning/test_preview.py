"""The preview of a space against what is known of it; empty and contradictory spaces."""

import io

import keras
import keras_tuner
import numpy as np
import pytest
from matplotlib import image
from rich.console import Console

from kerasbn.checks import InputError
from kerasbn.config import SearchConfig, TrainingConfig, TuneConfig
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.space.drawn import check
from kerasbn.tuning.space.factory import sample_config
from kerasbn.tuning.space.preview import preview
from kerasbn.tuning.space.scales import integer_log, layer_count, linear, log, one_minus_log


def space(hp):
    log(hp, "rate", 1e-4, 1.0)
    one_minus_log(hp, "momentum", 0.9, 0.999)
    for number in range(layer_count(hp, "layers", 1, 3)):
        integer_log(hp, f"units_{number + 1}", 16, 256)
    hp.Choice("optimizer", ["adam", "sgd"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        hp.Boolean("nesterov")
    linear(hp, "dropout", 0.0, 0.5)


def rows(drawn):
    """Return the cells of the table by name."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in str(drawn).splitlines() if "│" in line]
    return {row[0]: row[1:] for row in cells}


def test_table():
    table = rows(preview(space))
    names = ["rate", "one_minus_momentum", "momentum", "layers", "units_1", "units_2", "units_3", "optimizer"]
    assert list(table) == [*names, "nesterov", "dropout"]
    assert table["rate"][:2] == ["log", "0.0001 to 1"]
    assert [float(cell) for cell in table["rate"][2:5]] == pytest.approx([1.6e-4, 1e-2, 0.63], rel=0.3)
    assert table["momentum"][:2] == ["1 - x", "0.9 to 0.999"]
    assert [float(cell) for cell in table["momentum"][2:5]] == pytest.approx([0.92, 0.99, 0.9987], abs=0.005)
    assert table["layers"][:5] == ["linear", "1 to 3", "1", "2", "3"]
    assert table["units_1"][:2] == ["log", "16 to 256"]
    for name, share in (("rate", 100), ("units_1", 100), ("units_2", 67), ("units_3", 33), ("nesterov", 50)):
        assert float(table[name][5].rstrip("%")) == pytest.approx(share, abs=5)
    optimizer = table["optimizer"][1].replace("%", "").replace(",", "").split()
    assert optimizer[::2] == ["adam", "sgd"]
    assert [float(share) for share in optimizer[1::2]] == pytest.approx([50, 50], abs=5)


def test_draws_are_those_of_the_search():
    drawn = {h.name: h for h in preview(space, trials=20, seed=7).hyperparameters}
    for trial in range(20):
        hp = Draws(7, trial)
        space(hp)
        assert hp["rate"] == drawn["rate"].values[trial]
    assert drawn["rate"].values != {h.name: h for h in preview(space, 20).hyperparameters}["rate"].values


def test_a_console_s_width_is_kept():
    text = io.StringIO()
    Console(file=text, width=60).print(preview(space, 10))
    assert max(map(len, text.getvalue().splitlines())) <= 60


def odd(hp):
    hp.Float("rev", 0.9, 0.999, sampling="reverse_log")
    hp.Fixed("fixed", "[red]x[/red]")
    hp.Choice("many", list(range(40)))
    hp.Choice("$long", ["a very long choice indeed", "b"])
    hp.Float("one", 0.5, 0.5)
    hp.Int("step", 10, 100, step=10)
    with hp.name_scope("block"):
        hp.Float("one_minus_x", 1e-5, 1e-1, sampling="log")
    hp.Int("high", 0, hp.Int("low", 1, 30))
    if hp["low"] > 28:
        raise ValueError("too deep")


def test_odd_hyperparameters():
    drawn = preview(odd, trials=300)
    table = rows(drawn)
    assert table["fixed"][1] == "[red]x[/red] 100%"  # no markup
    assert table["one"] == ["fixed", "0.5 to 0.5", "0.5", "0.5", "0.5", "100%"]
    assert table["rev"][0] == "reverse_log"
    assert table["block/x"][:2] == ["1 - x", "0.9 to 0.99999"]
    assert "others" in str(drawn)
    ranges = {h.name: (h.low, h.high) for h in drawn.hyperparameters}
    assert ranges["high"] == (0, 30)  # it depends on the draw
    failed = sum(h > 28 for h in next(h.values for h in drawn.hyperparameters if h.name == "low"))
    assert failed > 0
    assert str(drawn).endswith(f"{failed} of 300 draws fail, the first with ValueError: too deep")


@pytest.mark.parametrize("which", [space, odd])
def test_picture(which, tmp_path):
    drawn = preview(which, trials=200)
    figure = drawn.plot(tmp_path / "space.png")
    pixels = image.imread(tmp_path / "space.png")
    assert pixels[..., :3].min() < 0.2
    shown = [axes for axes in figure.axes if axes.axison]
    titles = [axes.get_title().split(" ")[0] for axes in shown]
    assert titles == [h.name for h in drawn.hyperparameters]
    for axes, h in zip(shown, drawn.hyperparameters, strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        few = len(h.choices) > 12
        assert sum(heights) < 1 if few else sum(heights) == pytest.approx(1, abs=0.15)
        wide = h.scale == "log" and h.high / h.low > 12
        assert axes.get_xscale() == ("log" if wide else "linear")
    by_name = dict(zip(titles, shown, strict=True))
    if which is space:
        assert by_name["one_minus_momentum"].get_xlabel() == "momentum"
        assert by_name["one_minus_momentum"].xaxis_inverted()
        figure.canvas.draw()
        labels = [tick.get_text() for tick in by_name["one_minus_momentum"].get_xticklabels()]
        assert {"0.9", "0.99", "0.999"} <= set(labels)
        assert len(by_name["layers"].patches) == 3
    else:
        assert len(by_name["step"].patches) == 10
        assert len(by_name["one"].patches) == 1


def test_a_good_scale_makes_the_histogram_flat():
    (axes,) = preview(lambda hp: integer_log(hp, "units", 16, 1000), trials=4000).plot().axes
    heights = np.array([bar.get_height() for bar in axes.patches])
    assert heights.max() / heights.min() < 1.4


def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 9))])
    model.compile("sgd", "mse")
    return model


class Build(keras_tuner.HyperModel):
    def build(self, hp):
        return build(hp)


class Declared(Build):
    def declare_hyperparameters(self, hp):
        hp.Boolean("declared")


class OwnFit(keras_tuner.HyperModel):
    def build(self, hp):
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        return hp.Float("x", 0, 1)


@pytest.mark.parametrize(
    ("which", "names"),
    [(build, ["units"]), (Build(), ["units"]), (Declared(), ["declared", "units"]), (OwnFit(), [])],
    ids=["function", "hypermodel", "declared", "own fit"],
)
def test_models_are_built_as_long_as_the_time_allows(which, names):
    assert [h.name for h in preview(which, trials=2).hyperparameters] == names
    assert preview(which, trials=10**6, seconds=1e-6).draws == 1


def test_what_the_search_is_given_holds():
    given = keras_tuner.HyperParameters()
    given.Fixed("dropout", 0.25)
    drawn = {h.name: h for h in preview(space, trials=9, given=given).hyperparameters}
    assert set(drawn["dropout"].values) == {0.25}


def test_the_space_of_a_config():
    config = TuneConfig(search=SearchConfig(tiers=2), training=TrainingConfig(optimizer="momentum"))
    drawn = preview(lambda hp: sample_config(hp, config), trials=50)
    names = [h.name for h in drawn.hyperparameters]
    assert names == ["learning_rate", "one_minus_momentum", "units_1", "units_2", "batch_size"]


def shared_units(hp):
    for _ in range(3):
        hp.Int("units", 8, 64, default=16)
    hp.Int("units", 8, 64)


def branches(hp):
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Int("width", 1, 8)
    with hp.conditional_scope("kind", ["b"]):
        hp.Float("width", 0, 1)
    if kind == "a":
        hp.Int("depth", 1, 4)
    else:
        hp.Choice("depth", [1, 2])


def scopes(hp):
    hp.Int("units", 8, 64)
    with hp.name_scope("head"):
        hp.Int("units", 1, 4)
        hp.Int("more", 1, 4)
    hp.Float("more", 0, 1)


def one_value(hp):
    hp.Fixed("a", 1)
    hp.Int("b", 2, 2)


@pytest.mark.parametrize("which", [shared_units, branches, scopes, one_value, OwnFit, Build])
def test_no_contradiction(which):
    check(which() if isinstance(which, type) else which, trials=10)


def twice(first, second):
    """Return a space that asks for "x" in two ways."""

    def asks(hp):
        with hp.name_scope("s"):
            hp.Choice("kind", ["a"])
            first(hp)
            with hp.conditional_scope("kind", ["a"]):
                second(hp)

    return asks


@pytest.mark.parametrize(
    ("which", "expected", "received"),
    [
        (
            twice(lambda hp: hp.Int("x", 8, 64), lambda hp: hp.Int("x", min_value=16, max_value=64)),
            "Int(min_value=8, max_value=64, step=1, sampling='linear')",
            "Int(min_value=16, max_value=64, step=1, sampling='linear')",
        ),
        (
            twice(lambda hp: hp.Float("x", 1, 2), lambda hp: hp.Float("x", 1, 2, sampling="log")),
            "Float(min_value=1.0, max_value=2.0, sampling='linear')",
            "Float(min_value=1.0, max_value=2.0, sampling='log')",
        ),
        (
            twice(lambda hp: hp.Boolean("x"), lambda hp: hp.Choice("x", [1, 2])),
            "Boolean()",
            "Choice(values=[1, 2])",
        ),
    ],
    ids=["range", "scale", "kind"],
)
@pytest.mark.parametrize("asker", [check, preview])
def test_contradictions(asker, which, expected, received):
    with pytest.raises(InputError) as caught:
        asker(which)
    assert str(caught.value) == (
        f"hyperparameter 's/x': expected the same each time it is asked for: {expected}; received {received}. "
        "One draw has one value of a name. Give the second another name, or put it in an hp.name_scope."
    )


def test_a_contradiction_in_some_draws():
    def rare(hp):
        hp.Int("units", 1, 8)
        if hp.Float("x", 0, 1) > 0.9:
            hp.Int("units", 1, 9)

    with pytest.raises(InputError, match="hyperparameter 'units'"):
        preview(rare)


@pytest.mark.parametrize("asker", [check, preview])
def test_messages(asker):
    with pytest.raises(InputError) as caught:
        asker(lambda hp: None, trials=3)
    assert str(caught.value) == (
        "space: expected at least one hyperparameter; received none in 3 draws. Ask for one in the build function: "
        'hp.Float("learning_rate", 1e-4, 1e-1, sampling="log").'
    )
    with pytest.raises(InputError, match=r"space: expected a function of hp or a HyperModel; received 5\. Give what"):
        asker(5)
    with pytest.raises(InputError, match=r"trials: expected a whole number of at least 1; received 0\."):
        asker(space, trials=0)
    with pytest.raises(InputError, match=r"seconds: expected a number above 0; received 0\."):
        preview(space, seconds=0)


def test_a_function_that_fails_before_it_asks_is_not_called_empty():
    def broken(hp):
        raise ValueError("no such file")

    check(broken)  # a trial that fails, which the search records
    assert str(preview(broken, 2)).endswith("2 of 2 draws fail, the first with ValueError: no such file")
