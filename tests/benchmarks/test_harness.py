"""The harness takes turns and divides the right way round."""

from benchmarks.harness import TimedComparison, compare_times


def test_it_warms_both_up_and_then_takes_turns():
    order = []
    result = compare_times("x", lambda: order.append("a"), lambda: order.append("b"), rounds=3)
    assert "".join(order) == "ab" * 4
    assert len(result.ours) == len(result.peer) == 3


def test_a_slower_peer_gives_a_ratio_above_one():
    ticks = iter([0.0, 1.0, 1.0, 4.0])
    result = compare_times(
        "x", lambda: None, lambda: None, rounds=1, notes="same answer", clock=lambda: next(ticks)
    )
    assert result.ratios == (3.0,)
    assert result.line() == (
        "x: peer/ours 3.00 / 3.00 / 3.00 (min / median / max of 1); ours 1.000 / 1.000 / 1.000 s, peer 3.000 "
        "/ 3.000 / 3.000 s; same answer"
    )


def test_the_middle_is_the_median():
    assert "1.00 / 2.00 / 9.00" in TimedComparison("x", (1.0, 1.0, 1.0), (9.0, 1.0, 2.0)).line()
