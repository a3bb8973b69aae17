"""Tests of kerasbn.live_curves: pictures of the terminal's size, drawn now and then; plain lines elsewhere."""

import io
import math
import re

import pytest
from rich.console import Console, ConsoleDimensions
from rich.text import Text

from kerasbn import live_curves
from kerasbn.live_curves import picture, watching

HISTORY = [
    {"epoch": epoch, "loss": math.exp(-epoch / 9), "val_loss": 0.1 + math.exp(-epoch / 12), "accuracy": epoch / 31,
     "val_accuracy": epoch / 33, "learning_rate": 0.1 / epoch}
    for epoch in range(1, 31)
]  # fmt: skip


def plain(text):
    return [Text.from_ansi(line).plain for line in text.splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 20), (40, 12), (119, 36), (120, 20), (200, 46), (83, 17)])
def test_the_picture_has_the_size_that_was_asked_for(width, height):
    for points in (HISTORY, HISTORY[:1], HISTORY[:2], []):
        lines = plain(picture(points, width, height))
        assert [len(line) for line in lines] == [width] * height


def test_what_is_on_the_picture():
    lines = plain(picture(HISTORY, 80, 20))
    assert lines[0].split() == ["loss", "accuracy"]
    assert [line.strip() for line in lines if "rate" in line] == ["learning rate"]
    assert lines[13].split() == ["10", "20", "30", "10", "20", "30"]
    marks = [float(mark) for mark in re.findall(r"([\d.]+)┤", "\n".join(lines))]
    losses = [value for point in HISTORY for value in (point["loss"], point["val_loss"])]
    for value in (min(losses), max(losses), 1 / 33, 30 / 31, 0.1, 0.1 / 30):  # the ends of the three axes
        assert any(mark == pytest.approx(value, rel=0.006) for mark in marks), value
    wide = plain(picture(HISTORY, 160, 30))
    assert wide[0].split() == ["loss", "accuracy", "learning", "rate"]


def test_curves_go_the_right_way():
    lines = plain(picture([{"epoch": e, "loss": 10.0 - e} for e in range(1, 10)], 160, 30))
    drawn = [line.split("│")[1] for line in lines if line.count("│") == 6]
    first, last = (next(i for i, c in enumerate(line) if ord(c) > 0x2800) for line in (drawn[0], drawn[-1]))
    assert first < last


def test_what_falls_far_is_drawn_over_a_logarithm():
    for last, middle in ((0.01, 0.1), (0.5, 0.75)):
        points = [{"epoch": e, "loss": last ** ((e - 1) / 9), "accuracy": last ** ((e - 1) / 9)} for e in range(1, 11)]
        marks = [re.findall(r"([\d.]+)┤", line) for line in plain(picture(points, 160, 30))]
        loss, accuracy = zip(*[[float(mark) for mark in found] for found in marks if found], strict=True)
        assert loss[2] == pytest.approx(middle, rel=0.01)
        assert accuracy[2] == pytest.approx((1 + last) / 2, rel=0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_what_is_not_there_or_not_finite_is_left_out(value):
    strange = {"epoch": 3} if value is None else {"epoch": 3, "loss": value, "val_loss": value, "learning_rate": value}
    assert picture([*HISTORY[:2], strange], 80, 20) == picture(HISTORY[:2], 80, 20)
    assert len(plain(picture([strange], 80, 20))) == 20


def test_whole_numbers_of_epochs_below():
    for points in (
        HISTORY[:1],
        HISTORY[:3],
        [{"epoch": 0.25, "loss": 1.0}],
        [*HISTORY[:2], {"epoch": 2.5, "loss": 1.0}],
    ):
        below = plain(picture(points, 80, 20))[13]
        assert "." not in below
    many = [{"epoch": e, "loss": 1.0} for e in range(1, 100_000, 1000)]
    assert "50000" in plain(picture(many, 80, 20))[13]


def test_no_terminal_has_plain_lines_and_says_so():
    stream = io.StringIO()
    with watching("training", 2, stream) as report:
        report.show(HISTORY)
        assert not report.due
        report(0.5, "loss 9", line=False)
        report(1, "loss 0.5")
        report.say("a word [between]")
        report.draw(at_once=True)
    assert stream.getvalue().splitlines() == [
        "--watch: there are curves on a terminal only, and this is none.",
        "training: epoch 1/2  loss 0.5",
        "a word [between]",
    ]


class Terminal(io.StringIO):
    """A terminal as far as Python can tell."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    def size(columns, rows):
        monkeypatch.setattr(Console, "size", property(lambda self: ConsoleDimensions(columns, rows)))

    monkeypatch.setenv("TERM", "xterm-256color")
    size(80, 24)
    stream = Terminal()
    stream.size = size
    return stream


def frames(text):
    """Return the pictures that were drawn one over the other."""
    return [plain(frame) for frame in re.split(r"(?:\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*)|\x1b\[H", text)]


def test_a_terminal_has_pictures_and_the_last_one_stays(terminal):
    with watching("training digits", 30, terminal) as report:
        assert report.due
        report(0.5, "loss 9")  # there is no point yet
        report.say("a word [between]")
        report.show(HISTORY)
        report(30, "loss 0.04")
    text = terminal.getvalue()
    assert any("a word [between]" in line for line in plain(text))
    last = frames(text)[-1]
    assert last[0].split() == ["loss", "accuracy"]
    assert last[20].split() == ["━━", "training", "━━", "validation"]
    assert re.fullmatch(r"training digits  epoch 30/30  0:00:00 left  loss 0.04 *", last[21])
    assert len("\n".join(last).rstrip().splitlines()) == 22  # of 24 rows


def test_drawing_is_not_more_than_a_part_of_the_time(terminal, monkeypatch):
    now = iter(float(second) for second in range(0, 1000, 3))
    monkeypatch.setattr(live_curves.time, "monotonic", lambda: next(now))
    with watching("training", 30, terminal) as report:
        report.show(HISTORY)
        report.draw()  # by that clock it takes three seconds
        drawn = len(terminal.getvalue())
        for _ in range(20):
            report.draw()
        assert len(terminal.getvalue()) == drawn
        for _ in range(100):
            report.draw()
        assert len(terminal.getvalue()) > drawn


def test_the_terminal_changes_its_size(terminal):
    with watching("training", 30, terminal) as report:
        report.show(HISTORY)
        report.draw(at_once=True)
        terminal.size(50, 20)
        report.draw(at_once=True)
        small = frames(terminal.getvalue())[-1]
        assert max(len(line) for line in small) <= 50
        assert len("\n".join(small).rstrip().splitlines()) == 18
        assert terminal.getvalue().count("\x1b[2J") == 1  # the old one is wiped away
        terminal.size(30, 10)  # too small for a picture
        report.draw(at_once=True)
        assert frames(terminal.getvalue())[-1][0].startswith("training")
        terminal.size(200, 50)
    last = frames(terminal.getvalue())[-1]
    assert last[0].split() == ["loss", "accuracy", "learning", "rate"]
    assert {len(line) for line in last[:36]} == {200}


def test_a_terminal_without_these_characters_has_plain_lines(terminal):
    terminal.encoding = "ascii"
    with watching("training", 2, terminal) as report:
        report(1, "loss 0.5")
    assert terminal.getvalue().endswith("training: epoch 1/2  loss 0.5\n")


def test_an_error_leaves_the_picture(terminal):
    with pytest.raises(KeyboardInterrupt), watching("training", 2, terminal) as report:
        report.show(HISTORY)
        raise KeyboardInterrupt
    assert frames(terminal.getvalue())[-1][0].split() == ["loss", "accuracy"]
