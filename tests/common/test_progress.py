"""Progress where there is no terminal: a line now and then."""

import itertools

import pytest

from pokecam.common import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by twelve seconds each time it is read."""
    ticks = itertools.count(0, 12)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))


def test_a_line_now_and_then_with_what_is_left(clock, capsys):
    with progress.counting("maps", 10) as count:
        for _ in range(5):
            count(2)
    # The clock is read at the start, after every two images, and at the end.
    assert capsys.readouterr().err == ("maps: 6/10, 24 s left\nmaps: 10 images in 72 s\n")


def test_of_what_has_no_known_end_how_many_are_done(clock, capsys):
    with progress.counting("download", None, "files") as count:
        for _ in range(3):
            count(1)
    assert capsys.readouterr().err == "download: 3\ndownload: 3 files in 48 s\n"


def test_short_work_is_not_worth_a_line(capsys):
    with progress.counting("maps", 2) as count:
        count(2)
    assert capsys.readouterr().err == ""


def test_nobody_is_told_of_what_is_not_to_be_shown(clock, capsys):
    with progress.counting("maps", 4, enabled=False) as count:
        count(4)
    assert capsys.readouterr().err == ""


def test_an_error_passes_and_says_nothing_of_an_end(clock, capsys):
    with pytest.raises(ZeroDivisionError), progress.counting("maps", 4) as count:
        count(1)
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""
