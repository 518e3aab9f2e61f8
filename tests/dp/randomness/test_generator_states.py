"""What draws under fixed generators repeats, and leaves no trace in what is drawn afterwards."""

import random
from contextlib import suppress

import numpy as np
import torch

from quintain.dp.randomness.generator_states import GeneratorStates, fixed_generators


def draws() -> list[float]:
    return [torch.rand(()).item(), np.random.random(), random.random()]


def test_fixed_generators_repeat_and_are_put_back_after_an_error_too() -> None:
    states = GeneratorStates.now()
    expected = draws()
    states.restore()
    inside = []
    for error in (None, ValueError()):
        with suppress(ValueError), fixed_generators():
            inside.append(draws())
            if error is not None:
                raise error
    assert inside[0] == inside[1] != expected
    assert GeneratorStates.now().is_like(states)
    assert draws() == expected
