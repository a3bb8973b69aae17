"""Tests of kerasbn.progress: plain lines without a terminal, a bar on one."""

import io

from kerasbn.progress import reporting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines(monkeypatch):
    stream = io.StringIO()
    with reporting("training", 2, "epoch", stream) as report:
        report(0.5, "loss 9", line=False)  # not worth a line so soon
        report(1, "loss 0.5")
        report.say("a word [between]")
        report(2)
    assert stream.getvalue() == "training: epoch 1/2  loss 0.5\na word [between]\ntraining: epoch 2/2\n"


def test_a_line_now_and_then_in_long_epochs(monkeypatch):
    monkeypatch.setattr("kerasbn.progress._SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    with reporting("training", 2, "epoch", stream) as report:
        report(0.25, "loss 9", line=False)
    assert stream.getvalue() == "training: epoch 0.25/2  loss 9\n"


def test_standard_error_is_the_default(capsys):
    with reporting("training", 1, "epoch") as report:
        report(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "training: epoch 1/1\n"


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with reporting("training", 2, "epoch", stream) as report:
        report(1, "loss [0.5]")
        report.say("a word [between]")
        report(2, "loss 0.25")
    text = stream.getvalue()
    assert "2/2" in text
    assert "epochs" in text
    assert "loss 0.25" in text
    assert "a word [between]" in text
