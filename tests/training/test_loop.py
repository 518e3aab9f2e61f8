"""The one loop: it learns, repeats itself, and goes on where it was cut off, bit for bit."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core import progress
from quintain.core.errors import DivergedError, ModelError, RunFolderError, SettingError
from quintain.core.progress import no_progress
from quintain.data.dataset import from_arrays
from quintain.training import CleanCrossEntropy, Recipe, ValidationPoint, fit, loop

pytestmark = pytest.mark.rounding

RECIPES = [
    Recipe(3, batch_size=16, learning_rate=0.05),
    Recipe(3, batch_size=16, learning_rate=0.1, optimizer="sgd", momentum=0.9),
    Recipe(3, 16, 0.1, 1e-3, "sgd"),
]


def blobs(count=90):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    return from_arrays(
        np.clip(0.3 + 0.4 * labels[:, None] + 0.1 * rng.normal(size=(count, 6)), 0, 1).astype(np.float32),
        labels,
    )


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 2))


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


class CutOff:
    """Progress that stops the run after so many steps, as Ctrl-C does; a step takes ``clock.step``."""

    def __init__(self, steps, clock=None):
        self.left, self.clock = steps, clock

    @contextmanager
    def bar(self, label, total):
        def advance(done):
            self.left -= done
            if self.left < 0:
                raise KeyboardInterrupt
            if self.clock:
                self.clock.now += done * self.clock.step

        yield advance


@pytest.fixture
def clock(monkeypatch):
    """The time; of six steps an epoch a checkpoint is due at each end of one, where nothing changes it."""
    clock = SimpleNamespace(now=0.0, step=1.75)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_it_learns_and_leaves_the_net_in_evaluation_mode():
    model, data = net(), blobs()
    done = fit(model, data, Recipe(10, batch_size=16, learning_rate=0.05))
    x, y = data.batch(np.arange(len(data)))
    assert (model(x).argmax(1) == y).float().mean() > 0.95
    assert not model.training
    assert len(done.losses) == 10
    assert done.steps == 60


@pytest.mark.parametrize(
    ("recipe", "steps", "kept"),
    [
        (RECIPES[0], 1, ""),
        (RECIPES[0], 12, "12 steps of training"),
        pytest.param(RECIPES[0], 7, "6 steps of training", marks=pytest.mark.exhaustive),
        pytest.param(RECIPES[0], 17, "12 steps of training", marks=pytest.mark.exhaustive),
        *((one, 7, "6 steps of training") for one in RECIPES[1:]),
    ],
    ids=str,
)
def test_a_run_that_was_cut_off_ends_where_an_unbroken_one_does(tmp_path, clock, recipe, steps, kept):
    whole, broken, data = net(), net(), blobs()
    unbroken = fit(whole, data, recipe, seed=3)
    with pytest.raises(KeyboardInterrupt) as stop:
        fit(
            broken, data, recipe, seed=3, checkpoint=tmp_path / "c.safetensors", progress=CutOff(steps, clock)
        )
    assert str(stop.value) == kept
    assert (tmp_path / "c.safetensors").exists() == bool(kept)
    resumed = fit(net(), data, recipe, seed=3, checkpoint=tmp_path / "d.safetensors")
    again = net()
    assert fit(again, data, recipe, seed=3, checkpoint=tmp_path / "c.safetensors") == unbroken == resumed
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("steps", [2, 4, 9])
def test_a_run_that_was_cut_off_inside_an_epoch_goes_on_inside_it(tmp_path, monkeypatch, steps):
    whole, data = net(), blobs()
    unbroken = fit(whole, data, RECIPES[0], seed=3)
    monkeypatch.setattr(loop._Saver, "is_due", lambda _saver: True)
    path, again = tmp_path / "c.safetensors", net()
    with pytest.raises(KeyboardInterrupt) as stop:
        fit(net(), data, RECIPES[0], seed=3, checkpoint=path, progress=CutOff(steps))
    assert str(stop.value) == f"{steps} steps of training"
    assert fit(again, data, RECIPES[0], seed=3, checkpoint=path) == unbroken
    assert torch.equal(weights(again), weights(whole))


def test_a_checkpoint_is_due_after_ten_seconds_or_longer_where_writing_takes_long(tmp_path, monkeypatch):
    now = [0.0]

    def write(*_given, **_named):
        now[0] += 3.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(loop, "save_checkpoint", write)
    saver = loop._Saver(tmp_path / "c", net(), None, "", loop.TrainingPlace())
    due = []
    for seconds in (9.0, 1.0):
        now[0] += seconds
        due.append(saver.is_due())
    saver.save(loop.TrainingPlace(1))
    for seconds in (59.0, 1.0):
        now[0] += seconds
        due.append(saver.is_due())
    assert due == [False, True, False, True]


@pytest.mark.parametrize(
    ("seconds", "batch_size", "epochs", "places"),
    [
        (0.0, 16, 3, [(3, 0)]),
        (0.7, 16, 3, [(2, 3), (3, 0)]),
        (1.75, 16, 3, [(1, 0), (2, 0), (3, 0)]),
        (2.0, 16, 3, [(0, 5), (1, 4), (2, 3), (3, 0)]),
        (0.0, 90, 40, [(40, 0)]),
        (0.75, 90, 40, [(14, 0), (28, 0), (40, 0)]),
    ],
)
def test_it_is_written_about_every_ten_seconds_and_at_the_end_and_no_more_for_short_epochs(
    tmp_path, monkeypatch, clock, seconds, batch_size, epochs, places
):
    written, real = [], loop.save_checkpoint
    clock.step = seconds
    monkeypatch.setattr(
        loop, "save_checkpoint", lambda *given, **named: (written.append(given[3]), real(*given, **named))
    )
    path, data, recipe = tmp_path / "c.safetensors", blobs(), Recipe(epochs, batch_size=batch_size)
    first = fit(net(), data, recipe, checkpoint=path, progress=CutOff(1000, clock))
    assert [(place.epoch, place.step) for place in written] == places
    # What was finished is not trained again.
    assert fit(net(), data, recipe, checkpoint=path) == first
    assert [(place.epoch, place.step) for place in written] == places


def test_the_seed_decides_and_the_global_generator_does_not():
    results = []
    for seed, other in ((0, 1), (0, 2), (5, 1)):
        torch.manual_seed(other)
        model = net()
        fit(model, blobs(), Recipe(2, batch_size=16), seed=seed)
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_global_generator_is_left_as_it_was():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    fit(net(), blobs(), Recipe(1, batch_size=16))
    assert torch.equal(torch.rand(3), expected)


def test_no_generator_of_another_device_is_seeded(monkeypatch):
    model = net()
    monkeypatch.setattr(
        torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the generators of all GPUs were seeded")
    )
    fit(model, blobs(), Recipe(1, batch_size=16))
    assert torch.isfinite(weights(model)).all()


def test_tied_and_frozen_weights_go_through_a_checkpoint(tmp_path, clock):
    def tied():
        model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 2), nn.Linear(2, 2))
        with torch.no_grad():
            for number, parameter in enumerate(model.parameters()):
                parameter.copy_(torch.linspace(-0.3, 0.4, parameter.numel()).roll(number).view_as(parameter))
        model[2].weight = model[0].weight
        model[4].requires_grad_(False)
        return model

    whole, recipe = tied(), Recipe(3, batch_size=16, learning_rate=0.05)
    fit(whole, blobs(), recipe)
    with pytest.raises(KeyboardInterrupt, match="12 steps of training"):
        fit(tied(), blobs(), recipe, checkpoint=tmp_path / "c.safetensors", progress=CutOff(13, clock))
    resumed = tied()
    fit(resumed, blobs(), recipe, checkpoint=tmp_path / "c.safetensors")
    assert resumed[2].weight is resumed[0].weight
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(whole[4].weight, tied()[4].weight)


def test_a_net_with_nothing_to_train_is_refused():
    for model in (nn.Flatten(), net().requires_grad_(False)):
        with pytest.raises(ModelError, match=r"has no trainable parameters.*requires_grad"):
            fit(model, blobs(), Recipe(1))


class Wide(nn.Module):
    """Its repr says nothing of its size."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(6, size))

    def forward(self, x):
        return (x @ self.weight)[:, :2]


def test_a_checkpoint_of_another_net_is_refused(tmp_path):
    path, recipe = tmp_path / "c.safetensors", Recipe(1, batch_size=16)
    fit(Wide(4), blobs(), recipe, checkpoint=path)
    partly = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 2))
    fit(partly, blobs(), recipe, checkpoint=tmp_path / "d.safetensors")
    partly[0].requires_grad_(False)
    for model, file in ((Wide(5), path), (Wide(4).double(), path), (partly, tmp_path / "d.safetensors")):
        with pytest.raises(RunFolderError, match="belongs to a run with other settings"):
            fit(model, blobs(), recipe, checkpoint=file)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path, data = tmp_path / "c.safetensors", blobs()
    fit(net(), data, Recipe(2, batch_size=16), checkpoint=path)
    for change in ({"seed": 1}, {"recipe": Recipe(2, batch_size=15)}, {"data": blobs(80)}):
        arguments = {"recipe": Recipe(2, batch_size=16), "data": data, "seed": 0, **change}
        with pytest.raises(RunFolderError, match="other settings, data or seed"):
            fit(net(), arguments["data"], arguments["recipe"], seed=arguments["seed"], checkpoint=path)


def test_a_damaged_checkpoint_is_told(tmp_path):
    path = tmp_path / "c.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(RunFolderError, match="delete it"):
        fit(net(), blobs(), Recipe(1), checkpoint=path)


def test_a_loss_that_is_no_number_stops_the_run():
    class Broken(CleanCrossEntropy):
        def __call__(self, net, x, y, context):
            return super().__call__(net, x, y, context) * float("nan")

    with pytest.raises(ModelError, match="the loss is nan at step 0"):
        fit(net(), blobs(), Recipe(1), objective=Broken())


class Diverging(CleanCrossEntropy):
    """Its loss is no number from a step on."""

    step = 8

    def __call__(self, net, x, y, context):
        return super().__call__(net, x, y, context) * (float("nan") if context.step >= self.step else 1)


def test_a_run_that_diverges_has_the_weights_after_its_last_whole_epoch():
    diverged, expected, recipe = net(), net(), Recipe(3, 16, 0.05, schedule="constant")
    with pytest.raises(
        ModelError, match=r"nan at step 8 of 18.*weights of before again: those after step 6$"
    ):
        fit(diverged, blobs(), recipe, objective=Diverging())
    fit(expected, blobs(), Recipe(1, 16, 0.05, schedule="constant"))
    assert torch.equal(weights(diverged), weights(expected))


class Scores:
    """A validation that finds what it is told, and remembers the nets that it saw."""

    selects = True

    def __init__(self, robust, looks=1):
        self.robust, self.looks, self.seen = robust, looks, []

    def __repr__(self):
        return f"Scores({self.robust}, {self.looks})"

    def __call__(self, net, step, before):
        assert not net.training
        self.seen.append(weights(net))
        return ValidationPoint(step, 0.9, self.robust[len(before)])


def test_the_best_of_equal_weights_are_the_first_and_the_last_are_kept_beside():
    model, scores = net(), Scores([0.2, 0.5, 0.5, 0.4])
    done = fit(model, blobs(), Recipe(4, 16, 0.05), validation=scores)
    assert torch.equal(weights(model), scores.seen[1])
    assert done.best == ValidationPoint(12, 0.9, 0.5)
    model.load_state_dict(done.last)
    assert torch.equal(weights(model), scores.seen[3])
    assert fit(net(), blobs(), Recipe(1, 16), validation=Scores([0.5])).last is None


def test_weights_that_are_no_numbers_after_the_last_step_are_not_the_result():
    class Breaking(CleanCrossEntropy):
        """Its last step has a finite loss, and a gradient that is not."""

        def __call__(self, net, x, y, context):
            loss = super().__call__(net, x, y, context)
            weight = net[0].weight[0, 0]
            return loss + (weight - weight.detach()).sqrt() if context.step == 17 else loss

    model, expected, recipe = net(), net(), Recipe(3, 16, 0.05, schedule="constant")
    with pytest.raises(DivergedError, match=r"no finite numbers after the last step.*after step 12$"):
        fit(model, blobs(), recipe, objective=Breaking())
    fit(expected, blobs(), Recipe(2, 16, 0.05, schedule="constant"))
    assert torch.equal(weights(model), weights(expected))


def test_a_last_batch_that_is_left_out_is_looked_after_all_the_same():
    found = fit(net(), blobs(33), Recipe(2, 16), validation=Scores([0.1, 0.2])).points
    assert [point.step for point in found] == [3, 6]


def test_looks_are_at_equal_distances():
    found = fit(net(), blobs(), Recipe(2, 16), validation=Scores([0.1] * 8, looks=4)).points
    assert [point.step for point in found] == [2, 3, 5, 6, 8, 9, 11, 12]


@pytest.mark.parametrize("steps", [7, 15])
def test_averages_and_best_weights_go_on_after_a_kill(tmp_path, monkeypatch, steps):
    settings = {"ema_decay": 0.9, "max_grad_norm": 0.5, "seed": 3}
    whole, again, path, recipe = net(), net(), tmp_path / "c.safetensors", Recipe(3, 16, 0.05)
    unbroken = fit(whole, blobs(), recipe, validation=Scores([0.1, 0.6, 0.3]), **settings)
    monkeypatch.setattr(loop._Saver, "is_due", lambda _saver: True)
    broken = {"checkpoint": path, "validation": Scores([0.1, 0.6, 0.3]), **settings}
    with pytest.raises(KeyboardInterrupt):
        fit(net(), blobs(), recipe, progress=CutOff(steps), **broken)
    resumed = fit(again, blobs(), recipe, **broken)
    assert resumed == unbroken
    assert torch.equal(weights(again), weights(whole))
    assert all(torch.equal(resumed.last[name], value) for name, value in unbroken.last.items())
    # what was finished is not trained again, and ends with the same weights
    finished = net()
    assert fit(finished, blobs(), recipe, **broken) == unbroken
    assert torch.equal(weights(finished), weights(whole))
    for change in ({"ema_decay": 0.8}, {"max_grad_norm": 1.0}, {"validation": Scores([0.2])}):
        with pytest.raises(RunFolderError, match="other settings"):
            fit(net(), blobs(), recipe, **{**broken, **change})


def test_the_average_is_that_of_weights_and_of_batch_statistics():
    seen = []

    class Watching(CleanCrossEntropy):
        def __call__(self, net, x, y, context):
            if context.step:
                seen.append(weights(net))
            return super().__call__(net, x, y, context)

    last, averaged, recipe = net(), net(), Recipe(2, 16, 0.05)
    fit(last, blobs(), recipe, objective=Watching(), seed=3)
    fit(averaged, blobs(), recipe, objective=CleanCrossEntropy(), seed=3, ema_decay=0.7)
    iterates = torch.stack([*seen, weights(last)])
    decays = 0.7 ** torch.arange(11, -1, -1, dtype=torch.float64)
    expected = (decays[:, None] * iterates).sum(0) / decays.sum()
    expected[-18 - 1] = 12  # batches that the norm has seen are counted, not averaged
    torch.testing.assert_close(weights(averaged), expected, rtol=1e-5, atol=1e-6)


def test_long_gradients_are_cut():
    model, before = net(), weights(net())
    fit(model, blobs(), Recipe(1, 90, 1.0, optimizer="sgd"), max_grad_norm=0.01)
    moved = (weights(model) - before)[: sum(p.numel() for p in model[0].parameters())]
    assert 0 < moved.norm() <= 0.01 * (1 + 1e-5)
    with pytest.raises(SettingError, match="max_grad_norm"):
        fit(model, blobs(), Recipe(1), max_grad_norm=0.0)


def test_an_objective_sees_where_it_stands():
    seen = []

    class Watching:
        def __repr__(self):
            return "Watching()"

        def __call__(self, net, x, y, context):
            assert net.training
            seen.append(
                (
                    context.step,
                    context.total_steps,
                    context.epoch,
                    context.total_epochs,
                    context.seed,
                    len(context.ids),
                )
            )
            return nn.functional.cross_entropy(net(x), y)

    fit(net(), blobs(), Recipe(2, batch_size=40), objective=Watching(), progress=no_progress)
    assert [(step, steps, epoch, epochs) for step, steps, epoch, epochs, _, _ in seen] == [
        (i, 6, i // 3, 2) for i in range(6)
    ]
    assert len({seed for *_, seed, _ in seen}) == 6
    assert [size for *_, size in seen] == [40, 40, 10] * 2


def test_every_example_is_seen_once_an_epoch():
    ids = []

    class Watching(CleanCrossEntropy):
        def __call__(self, net, x, y, context):
            ids.append(context.ids)
            return super().__call__(net, x, y, context)

    fit(net(), blobs(), Recipe(2, batch_size=16), objective=Watching())
    both = torch.cat(ids).view(2, -1)
    assert torch.equal(both.sort(1).values, torch.arange(90).expand(2, 90))
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize(
    "words",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"momentum": 1},
        {"weight_decay": -1},
    ],
)
def test_settings_out_of_range_are_refused(words):
    with pytest.raises(SettingError, match="expected"):
        Recipe(**{"epochs": 1, **words})


def test_schedules():
    assert Recipe(1, learning_rate=0.4).learning_rate_at(0.5) == pytest.approx(0.2)
    assert Recipe(1, learning_rate=0.4, schedule="constant").learning_rate_at(0.9) == 0.4


def test_a_last_batch_of_one_example_does_not_stop_a_net_with_batch_norm():
    model = net()
    done = fit(model, blobs(33), Recipe(epochs=2, batch_size=16))
    assert np.isfinite(done.losses).all()
    assert model[3].num_batches_tracked == 4
