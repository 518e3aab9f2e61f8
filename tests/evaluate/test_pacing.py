"""How many examples an attack takes at a time."""

import pytest
import torch

from quintain.evaluate.pacing import REQUEST_SIZE, Pace, smallest_batch


def test_the_first_chunk_is_a_trial_and_the_next_last_as_long_as_was_asked_for():
    pace = Pace(smallest=4, seconds=10)
    assert pace.next_size(100) == 4
    pace.record(4, 8.0)
    assert pace.next_size(96) == 5
    pace.record(5, 50.0)
    assert pace.next_size(91) == 4
    assert pace.next_size(6) == 6


def test_an_attack_that_is_fast_takes_all_that_is_left():
    pace = Pace(smallest=16, seconds=10)
    pace.record(16, 0.1)
    assert pace.next_size(496) == 496


def test_a_rest_that_is_smaller_than_a_batch_should_be_says_nothing_of_the_speed():
    pace = Pace(smallest=16, seconds=10)
    pace.record(16, 8.0)
    pace.record(2, 8.0)
    assert pace.next_size(100) == 20


class Timed:
    """A model whose forward passes take time by a rule."""

    access, device = "gradients", torch.device("cpu")

    def __init__(self, rule, **facts):
        self.now, self.rule, self.calls = 0.0, rule, []
        for name, value in facts.items():
            setattr(self, name, value)

    def __call__(self, x):
        self.calls.append(len(x))
        self.now += self.rule(len(x))
        return x.new_zeros(len(x), 2)

    def clock(self):
        return self.now


@pytest.mark.parametrize(
    ("rule", "count", "expected"),
    [
        (lambda n: n, 100, 4),  # each example costs a second: no batch is too small
        (lambda n: 0.001 * n, 100, 6),  # the attack's own 5 ms weigh
        (lambda n: 0.00005 * n, 512, 112),
        (lambda n: 0.00005 * n, 200, None),
        (lambda n: 10 + n, 100, 34),
        (lambda _: 1, 512, None),  # a call costs the same whatever it holds
        (lambda n: 1 + 0.001 * n, 512, None),
        (lambda n: n, 7, 4),
    ],
)
def test_the_smallest_batch_is_one_in_which_an_example_is_hardly_slower(rule, count, expected):
    model = Timed(rule)
    assert smallest_batch(model, torch.zeros(count, 2), model.clock) == expected
    assert sum(model.calls) <= 2 * (4 + 32)


@pytest.mark.parametrize(("cached", "expected"), [(True, REQUEST_SIZE), (False, 16)])
def test_a_black_box_is_not_called_to_find_out(cached, expected):
    model = Timed(lambda n: n, access="scores", cached=cached)
    assert smallest_batch(model, torch.zeros(100, 2), model.clock) == expected
    assert model.calls == []


def test_a_batch_that_does_not_fit_into_memory_is_no_smallest_one():
    def rule(limit):
        def seconds(n):
            if n > limit:
                raise torch.OutOfMemoryError("no room")
            return float(n)

        return seconds

    for limit, expected in ((8, 4), (2, 1)):
        model = Timed(rule(limit))
        assert smallest_batch(model, torch.zeros(100, 2), model.clock) == expected
