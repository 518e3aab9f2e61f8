"""What short trials tell of a model: how much of the attacks' and certificates' work falls away on it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from quintain.certify.smoothing import SmoothedClassifier
from quintain.drill import Settings, pipeline
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import FULL, fit_workload
from quintain.drill.steps import attack, certify
from quintain.drill.steps.privatize import batch_size
from quintain.drill.subject import Subject
from quintain.drill.trials import LEAST, MOST_TRAINED, Trials

NETS = """
import torch
from torch import nn


def bright():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.stack((-torch.ones(64), torch.ones(64))))
        net[1].bias.copy_(64 * torch.tensor([0.5, -0.5]))
    return net
"""
"""A net that looks at the mean brightness."""


@pytest.fixture
def trials(tmp_path):
    """Trials of a given net, on pictures of 8 x 8 whose brightness is ``distance`` from the boundary."""

    def made(distance, threat="linf:4/255", minutes=20.0):
        (tmp_path / "net.py").write_text(NETS)
        labels = np.arange(200) % 2
        images = np.where(labels, 0.5 + distance, 0.5 - distance).astype(np.float32)
        images = images[:, None, None].repeat(8, 1).repeat(8, 2)
        np.savez(tmp_path / f"d-{distance}.npz", test_images=images, test_labels=labels)
        settings = Settings(
            model=f"{tmp_path}/net.py:bright",
            data=f"{tmp_path}/d-{distance}.npz",
            threat=threat,
            minutes=minutes,
        )
        subject = Subject(settings, torch.device("cpu"))
        full = fit_workload(FULL, train=0, test=200, bundled=False)
        run = RunFolder(tmp_path / f"run-{distance}-{minutes}", settings, ("attack",))
        names = frozenset({"train", "attack", "certify"})
        context = pipeline._context(run, settings, full, subject, names, pipeline.no_progress)
        times = iter(range(10**6))

        def clock():
            return 1e-6 * next(times)

        return Trials(context, clock, clock)

    return made


@pytest.mark.parametrize(
    ("distance", "unbroken"), [(1.5 / 255, 1 / 98), (3 / 255, 33 / 98), (6 / 255, 65 / 98), (0.4, 97 / 98)]
)
def test_few_steps_tell_how_many_examples_stay_unbroken_over_half_the_size_the_size_and_its_double(
    trials, distance, unbroken
):
    assert trials(distance).unbroken == pytest.approx(unbroken)


def test_examples_that_are_misclassified_cost_no_queries(trials):
    assert trials(0.4).correct == pytest.approx(33 / 34)
    assert trials(-0.4).correct == pytest.approx(1 / 34)


def test_examples_that_noise_hides_need_no_certificate(trials):
    assert trials(0.4).correct_under_noise == pytest.approx(33 / 34)
    assert 0 < trials(0.0001).correct_under_noise < 0.9


def test_a_model_that_is_broken_at_once_is_attacked_in_less_time(trials):
    weak, strong = trials(1.5 / 255), trials(0.4)
    for one in (weak, strong):
        vars(one).update(attack=1.0, forward=0.001)
    whole = weak.context.workload
    assert attack.estimate(weak.context, weak)(whole) < 0.2 * attack.estimate(strong.context, strong)(whole)


def test_a_trial_may_take_a_hundredth_of_the_time_between_bounds(trials):
    assert [trials(0.4, minutes=minutes).too_long for minutes in (0.1, 1.0, 2.0, 20.0)] == [0.3, 0.6, 1.2, 4]


def test_what_a_batch_takes_whatever_it_holds_is_not_counted_for_each_example(trials):
    one = trials(0.4)
    vars(one).update(forward=1e-9)
    assert one._until_long_enough("training", lambda count: 0.1 + 0.01 * count, 128) == pytest.approx(0.01)
    assert one._until_long_enough("training", lambda _count: 0.1, 128) == pytest.approx(LEAST * 0.1 / 128)


def test_a_trial_that_was_disturbed_once_is_not_taken_for_the_time_of_an_example(trials):
    one, times = trials(0.4), iter([0.1, 0.1, 1.5, 0.32])
    vars(one).update(forward=1e-9)
    found = one._until_long_enough("training", lambda _count: next(times), 32)
    assert found == pytest.approx((0.32 - 0.1) / 24)


def test_trials_are_short_by_the_time_though_the_processor_does_little_in_it(trials):
    now, counts = [0.0], []
    one = Trials(trials(0.4).context, lambda: now[0] / 10, lambda: now[0])
    vars(one).update(forward=1e-9)

    def work(count):
        counts.append(count)
        now[0] += 0.02 * count

    assert one.seconds_per_example("training", work, 2_000) == pytest.approx(0.002)
    assert max(counts) == 32


def test_a_training_is_tried_on_many_batches_and_what_is_done_once_is_not_counted_for_each(trials):
    now, one, counts = [0.0], trials(0.4), []
    vars(one).update(forward=5e-5)

    def work(count):
        counts.append(count)
        now[0] += 0.03 + 0.00013 * count

    timed = Trials(one.context, lambda: now[0], lambda: now[0])
    vars(timed).update(forward=5e-5)
    found = timed.seconds_per_example("training", work, 5_000, most=MOST_TRAINED)
    assert found == pytest.approx(0.00013)
    assert max(counts) == MOST_TRAINED
    # one batch at most tells of little but what is done once
    assert timed.seconds_per_example("training", work, 5_000) > 1.3 * found


def test_batches_of_private_training_and_votes_follow_what_is_cut():
    full = fit_workload(FULL, train=10_000, test=200, bundled=False)
    assert batch_size(full) == full.private_batch == 1111
    assert batch_size(pipeline.replace(full, train_examples=500)) == 55
    assert certify.vote_samples(full) == 1_000
    assert certify.vote_samples(pipeline.replace(full, noise_samples=1_000)) == 500
    assert attack.num_probed(full) == 33
    assert attack.num_probed(pipeline.replace(full, test_examples=25)) == 5
    assert attack.num_probed(pipeline.replace(full, test_examples=300)) == 50


def test_a_single_call_that_takes_long_does_not_stand_for_each_of_many_examples(trials, monkeypatch):
    now, one = [0.0], trials(0.4)

    def predict(x):
        now[0] += 0.3 + 0.001 * len(x)
        return torch.zeros(len(x), dtype=torch.long)

    monkeypatch.setattr(Trials, "model", SimpleNamespace(predict=predict))
    found = Trials(one.context, lambda: now[0], lambda: now[0]).forward
    assert found == pytest.approx((0.3 + 0.016) / 16)


def test_a_noise_sample_is_timed_on_all_samples_though_noise_changes_the_class(trials, monkeypatch):
    one, copies = trials(0.0001), []
    real = one.model.predict

    def counted(smooth, x, *, noise_samples, **_words):
        copies.append(noise_samples)
        return real(x)

    monkeypatch.setattr(SmoothedClassifier, "count_votes", counted)
    vars(one).update(forward=0.01)
    assert one.noise_sample == pytest.approx(1e-6 / 400)
    assert copies == [400, 400]
