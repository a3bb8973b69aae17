"""Pictures of schedules: what they show, and files that are whole."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from schedule_table import SCHEDULES, all_schedules

from kerasbn.checks import InputError
from kerasbn.schedules import Cosine, Manual, OneCycle, WarmUp, join, repeat


@all_schedules
def test_every_schedule_has_a_picture(schedule):
    figure = schedule.plot()
    assert isinstance(figure, Figure)
    left = figure.axes[0]
    positions, rates = left.lines[0].get_data()
    np.testing.assert_array_equal(rates, schedule(positions))
    assert positions[0] == 0
    assert left.get_xlim() == (0, schedule.horizon)
    assert left.get_ylim()[0] == 0
    assert (left.get_xlabel(), left.get_ylabel()) == ("epoch or step", "learning rate")
    assert left.get_title().replace("\n", " ") == repr(schedule)
    assert len(figure.axes) == 1 + schedule.cycles_momentum
    if schedule.cycles_momentum:
        positions, momenta = figure.axes[1].lines[0].get_data()
        np.testing.assert_array_equal(momenta, schedule.momentum(positions))
        assert figure.axes[1].get_ylabel() == "momentum"


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.length], ids=repr)
def test_the_end_is_in_the_picture(schedule):
    assert schedule.length < schedule.horizon <= 2 * schedule.length


def test_until():
    assert Cosine(0.1, 10).plot(until=30).axes[0].get_xlim() == (0, 30)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_files(tmp_path, tree, suffix, start):
    path = tmp_path / f"cycle{suffix}"
    path.write_text("old")
    OneCycle(0.1, 10).plot(path=path)
    assert path.read_bytes().startswith(start)
    assert tree(tmp_path) == [path.name]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, tree):
    path = tmp_path / "cycle.xyz"
    path.write_text("old")
    with pytest.raises(ValueError, match="xyz"):
        OneCycle(0.1, 10).plot(path=path)
    assert path.read_text() == "old"
    assert tree(tmp_path) == ["cycle.xyz"]
    with pytest.raises(InputError, match="expected a file, or nothing yet; received a directory"):
        OneCycle(0.1, 10).plot(path=tmp_path)


def test_long_names_stay_in_the_picture(tmp_path):
    schedule = join([WarmUp(Manual([0.1 + i / 1000 for i in range(40)]), 5), repeat(OneCycle(0.1, 5), 5)], [50])
    figure = schedule.plot(path=tmp_path / "long.png")
    assert max(map(len, figure.axes[0].get_title().split("\n"))) <= 95
    with Image.open(tmp_path / "long.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert (pixels[:2] == 255).all()  # nothing is cut off at the edges
    assert (pixels[:, :2] == 255).all()
    assert (pixels[:, -2:] == 255).all()
