"""Canary coordinates that follow the plan raise no alarm; each departure from it is named."""

import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.leakage import CanaryRun, coordinate_measurements
from quintain.results.specification import FALSE_ALARM_PROBABILITY, bonferroni_tests

STEPS, CANARIES, RATE, SIGMA, CLIP, UNIT = 60, 200, 0.2, 1.5, 0.7, 0.7 / 32


def run(
    seed=0, *, steps=STEPS, canaries=CANARIES, rate=RATE, sigma=SIGMA, noise=None, push=1.0, weakest=2 * CLIP
):
    """What a run releases on its canaries, by the plan or with other noise (steps, canaries) or another
    push.
    """
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    noise = rng.standard_normal((steps, canaries)) if noise is None else noise
    return CanaryRun(
        UNIT * (push * included * (rng.random((steps, canaries)) < rate) + sigma * noise), included, weakest
    )


def failed(one, *, rate=RATE, sigma=SIGMA):
    found = coordinate_measurements(
        one, sample_rate=rate, noise_multiplier=sigma, canary_size=UNIT, max_grad_norm=CLIP
    )
    return {test.name for test in bonferroni_tests(found) if not test.passed}


@pytest.mark.parametrize(
    ("steps", "canaries", "rate", "sigma"),
    [(60, 200, 0.2, 1.5), (1, 20, 0.5, 0.7), (2, 40, 1.0, 3.0), (276, 500, 0.109, 2.4), (5, 60, 0.01, 0.3)],
)
def test_runs_by_the_plan_raise_no_alarm(steps, canaries, rate, sigma):
    for seed in range(10):
        assert (
            failed(run(seed, steps=steps, canaries=canaries, rate=rate, sigma=sigma), rate=rate, sigma=sigma)
            == set()
        )


@pytest.mark.parametrize(("steps", "canaries", "rate", "sigma"), [(60, 200, 0.2, 1.5), (3, 30, 0.05, 0.4)])
def test_p_values_are_as_small_as_they_should_be(steps, canaries, rate, sigma):
    """Of 300 runs, no measurement is below 1 % much more often than 3 times."""
    low: dict[str, int] = {}
    for seed in range(300):
        one = run(seed, steps=steps, canaries=canaries, rate=rate, sigma=sigma)
        for found in coordinate_measurements(
            one, sample_rate=rate, noise_multiplier=sigma, canary_size=UNIT, max_grad_norm=CLIP
        ):
            low[found.name] = low.get(found.name, 0) + (found.p_value < 0.01)
    assert max(low.values()) <= 14  # more than that has probability 1e-6 for each


def test_the_whole_level_is_shared():
    assert FALSE_ALARM_PROBABILITY == 1e-6
    assert (
        len(
            coordinate_measurements(
                run(), sample_rate=RATE, noise_multiplier=SIGMA, canary_size=UNIT, max_grad_norm=CLIP
            )
        )
        == 23
    )


def white(seed=1):
    return np.random.default_rng(seed).standard_normal((STEPS, CANARIES))


def repeated():
    noise = white()
    noise[41] = noise[3]
    return noise


def drifting():
    noise = white()
    return (noise + 0.5 * np.concatenate([noise[-1:], noise[:-1]])) / np.sqrt(1.25)


def shared():
    """Each number of a pair has half of its noise in common with the other."""
    noise = white()
    noise[:, 1::2] = (noise[:, 1::2] + noise[:, ::2]) / np.sqrt(2)
    return noise


def without(step):
    noise = white()
    noise[step] = 0
    return noise


def sliding():
    """Each step's noise is that of the step before, 70 canaries further on, and new noise for the last
    ones.
    """
    stream = np.random.default_rng(1).standard_normal(70 * STEPS + CANARIES)
    return np.stack([stream[70 * step : 70 * step + CANARIES] for step in range(STEPS)])


def signed_anew(step, of):
    """One step has the sizes of another, with signs of its own."""
    noise = white()
    noise[step] = np.abs(noise[of]) * np.sign(noise[step])
    return noise


def combined():
    """A step's noise is put together from that of the fifty before it, of each a little."""
    noise = white()
    weights = np.random.default_rng(2).standard_normal(50)
    noise[50] = weights @ noise[:50] / np.linalg.norm(weights)
    return noise


def made_exact(axis, *, mean):
    """The noise of canaries left out comes to exactly 0, or its sum of squares to their number: in each step,
    or over all steps.
    """
    noise, out = white(), ~run().included
    part = noise[:, out]
    part = (
        part - part.mean(axis=axis, keepdims=True)
        if mean
        else part / np.sqrt(np.square(part).mean(axis=axis, keepdims=True))
    )
    noise[:, out] = part
    return noise


FAULTS = {
    "signs alone are new in a step": (
        run(noise=signed_anew(41, 3)),
        {"canary noise without signs of two steps"},
    ),
    "a step that is a combination of others": (run(noise=combined()), {"canary noise residuals"}),
    "sums of steps that are exact": (run(noise=made_exact(1, mean=True)), {"canary noise sums"}),
    "squares of steps that are exact": (run(noise=made_exact(1, mean=False)), {"canary noise squares"}),
    "sums of canaries that are exact": (run(noise=made_exact(0, mean=True)), {"canary noise sums"}),
    "squares of canaries that are exact": (run(noise=made_exact(0, mean=False)), {"canary noise squares"}),
    "one step without noise": (run(noise=without(17)), {"canary noise of each step"}),
    "one step with twice the noise": (
        run(noise=white() * (1 + (np.arange(STEPS) == 17))[:, None]),
        {"canary noise of each step"},
    ),
    "noise with a largest value": (run(noise=white().clip(-2.5, 2.5)), {"canary noise tails"}),
    "noise of a step in the next, at other canaries": (
        run(noise=sliding()),
        {"canary noise autocorrelation"},
    ),
    "no noise": (run(noise=np.zeros((STEPS, CANARIES))), {"canary noise", "canary push shape"}),
    "a tenth of the noise is missing": (run(noise=0.9 * white()), {"canary noise"}),
    "too much noise": (run(noise=1.1 * white()), {"canary noise"}),
    "noise that is not Gaussian": (run(noise=np.sign(white())), {"canary noise shape"}),
    "noise with a mean": (run(noise=white() + 0.2), {"canary noise mean"}),
    "the same noise at every step": (
        run(noise=np.repeat(white()[:1], STEPS, 0)),
        {"canary noise over steps", "canary noise of two steps"},
    ),
    "noise of one step used once more": (run(noise=repeated()), {"canary noise of two steps"}),
    "noise that carries over": (
        run(noise=drifting()),
        {"canary noise between steps, even", "canary noise between steps, odd"},
    ),
    "noise shared by neighbors": (run(noise=shared()), {"canary noise between canaries, even"}),
    "not clipped": (run(push=2.0), {"canary push", "canary push shape"}),
    "clipped to a quarter": (run(push=0.25), {"canary push"}),
    "twice the sampling rate": (run(rate=2 * RATE), {"canary push"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_departure_is_named(fault):
    made, expected = FAULTS[fault]
    assert failed(made) & expected


def test_a_weak_canary_is_not_measured():
    assert failed(run(push=0.5, weakest=0.9 * CLIP)) == set()
    assert failed(run(noise=0.5 * white(), weakest=0.9 * CLIP)) >= {"canary noise"}


def test_without_noise_there_is_nothing_to_measure():
    with pytest.raises(SettingError, match="positive noise"):
        coordinate_measurements(
            run(), sample_rate=RATE, noise_multiplier=0.0, canary_size=UNIT, max_grad_norm=CLIP
        )
