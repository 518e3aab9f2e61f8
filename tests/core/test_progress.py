"""Progress that shows nothing keeps to the protocol of what shows something."""

import pytest

from quintain.core.progress import no_progress


def test_no_progress_takes_steps_and_words_and_gives_nothing(capsys):
    with no_progress.bar("queries", 3) as advance:
        assert [advance(1), advance(2)] == [None, None]
        assert no_progress.set_status("half way") is None
    assert capsys.readouterr() == ("", "")


def test_an_error_inside_a_bar_is_raised():
    with pytest.raises(KeyError, match="inside"), no_progress.bar("queries", 3):
        raise KeyError("inside")
