import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quintain.attacks.perturbation import success_rate
from quintain.attacks.universal.adversarial_patch import AdversarialPatch
from quintain.attacks.universal.fitting import (
    FitSettings,
    fit_pattern,
    goal_log_probability,
    shuffled_batches,
)
from quintain.attacks.universal.printing import Printing, non_printability, palette
from quintain.attacks.universal.view import View
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.progress import no_progress
from quintain.data.dataset import from_arrays
from quintain.models import Classifier
from quintain.models.blackbox import BlackBox
from tests.attacks.universal.physical_scenes import by_color, by_half, colors, halves

QUICK = {"area": 0.1, "steps": 40, "batch_size": 8, "learning_rate": 0.1}


def test_the_best_sticker_of_a_linear_model_is_found() -> None:
    fitted = AdversarialPatch(1, view=View(brightness=0.0, contrast=0.0), **QUICK).fit(by_color(), colors())
    inside = fitted.alpha[0] > 0
    assert torch.equal(fitted.pattern[:, inside].mean(1), torch.tensor([0.0, 1.0, 0.0]))


def test_without_a_target_any_wrong_answer_will_do() -> None:
    data = colors().subset([0, 3, 6, 9])
    fitted = AdversarialPatch(view=View(brightness=0.0, contrast=0.0), **QUICK).fit(by_color(), data)
    inside = fitted.alpha[0] > 0
    assert fitted.pattern[0, inside].max() == 0
    assert (fitted.pattern[1:, inside].amax(0) == 1).all()


def test_it_works_on_pictures_and_views_that_it_was_not_fitted_on_and_a_random_one_does_not() -> None:
    model, data = by_color(), colors(90)
    fitted = AdversarialPatch(2, **{**QUICK, "area": 0.25}, printing=Printing()).fit(
        model, data.subset(range(30))
    )
    others = data.subset(range(30, 90))
    assert success_rate(model, others, fitted, target=2).rate == 1
    assert success_rate(model, others, fitted.random_control(), target=2).rate < 0.2
    assert success_rate(model, others, fitted.gray_control(), target=2).rate < 0.2
    with pytest.raises(DataError, match="fitted on"):
        success_rate(model, data, fitted, target=2)


def test_the_views_of_fitting_and_of_scoring_are_never_the_same() -> None:
    seen = []
    data = colors(8)

    class Watched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return x.mean((2, 3))

    blank = AdversarialPatch(1, **{**QUICK, "steps": 30}, view=View(None, 0.0, 180.0, (0.5, 1.0))).blank(
        3, 24, 24
    )
    black = from_arrays(
        np.zeros((8, 3, 24, 24), dtype=np.float32), np.zeros(8, dtype=int), name="black", num_classes=3
    )
    fit_pattern(
        Classifier(Watched().eval(), num_classes=3), black, blank.pattern, blank.apply_pattern,
        name="views", target=1, settings=FitSettings(5, 8, 0.01), seed=0, progress=no_progress,
    )  # fmt: skip
    masks = {tuple((one > 0).flatten().tolist()) for one in torch.cat(seen)}
    assert len(masks) == 40
    scored = {
        tuple((one > 0).flatten().tolist()) for one in blank.apply(black.batch(torch.arange(8))[0], seed=0)
    }
    assert len(data) == 8
    assert not masks & scored


def test_colors_keep_to_their_box() -> None:
    fitted = AdversarialPatch(1, low=0.3, high=0.7, **QUICK).fit(by_half(), halves())
    assert ((fitted.pattern >= 0.3) & (fitted.pattern <= 0.7)).all()
    assert fitted.pattern.max() == pytest.approx(0.7)


def test_what_cannot_be_printed_is_avoided_for_its_price() -> None:
    free, dear = (
        AdversarialPatch(1, **QUICK, nps_weight=weight).fit(by_color(), colors()) for weight in (0.0, 50.0)
    )
    cost = [float(non_printability(one.pattern, palette(3), one.alpha)) for one in (free, dear)]
    assert cost[1] < cost[0] / 4


def test_every_picture_has_its_turn() -> None:
    batches = shuffled_batches(np.array([2, 3, 5, 7, 11]), 3, 0)
    drawn = np.concatenate([next(batches) for _ in range(10)]).reshape(6, 5)
    assert (np.sort(drawn, 1) == [2, 3, 5, 7, 11]).all()
    assert len({tuple(row) for row in drawn.tolist()}) > 1


def test_the_same_seed_gives_the_same_sticker_and_no_global_one_is_touched() -> None:
    state = torch.random.get_rng_state()
    one, same, other = (
        AdversarialPatch(1, **{**QUICK, "steps": 3}).fit(by_color(), colors(), seed=seed).pattern
        for seed in (5, 5, 6)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_step_is_kept_and_no_weight_gets_a_gradient() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(10.0))

        def forward(self, x: Tensor) -> Tensor:
            most.append(sum(one() is not None for one in alive))
            alive.append(weakref.ref(x))
            return self.scale * x.mean((2, 3))

    net = Counting().eval()
    fitted = AdversarialPatch(1, **{**QUICK, "steps": 12}).fit(Classifier(net, num_classes=3), colors())
    assert max(most) <= 1
    assert net.scale.grad is None
    assert not net.training
    assert not fitted.pattern.requires_grad


def test_what_is_wanted_does_not_underflow() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    y = torch.tensor([0])
    assert goal_log_probability(logits, y, 1).item() == pytest.approx(-200)
    assert goal_log_probability(logits, y, None).item() == pytest.approx(
        -200 + torch.tensor(2.0).log().item(), rel=1e-6
    )
    assert torch.autograd.grad(goal_log_probability(logits, y, None).sum(), logits)[0].abs().max() > 0.4


def test_a_model_that_answers_nan_is_refused_before_it_spoils_the_sticker() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) / (x.mean((1, 2, 3), keepdim=True)[..., 0, 0] > 2)

    with pytest.raises(ModelError, match="not finite"):
        AdversarialPatch(1, **QUICK).fit(Classifier(Broken().eval(), num_classes=3), colors())


def test_a_caller_without_gradients_is_no_obstacle() -> None:
    attack = AdversarialPatch(1, **{**QUICK, "steps": 2}, nps_weight=0.1)
    with torch.no_grad():
        fitted = attack.fit(by_color(), colors())
    assert torch.equal(fitted.pattern, attack.fit(by_color(), colors()).pattern)


def test_a_model_of_scores_alone_is_refused() -> None:
    with pytest.raises(ModelError, match="sticker needs gradients"):
        AdversarialPatch(1, **QUICK).fit(BlackBox(lambda x: np.zeros((len(x), 3)), num_classes=3), colors())


def test_bad_input_is_refused() -> None:
    data = colors()
    with pytest.raises(SettingError, match=r"target = 3; expected a class of colors, from 0 to 2"):
        AdversarialPatch(3, **QUICK).fit(by_color(), data)
    with pytest.raises(DataError, match="all 2 images"):
        AdversarialPatch(0, **QUICK).fit(by_color(), data.subset([0, 3]))
    with pytest.raises(DataError, match="expected images"):
        AdversarialPatch(0, **QUICK).fit(
            by_color(), from_arrays(np.zeros((4, 9), dtype=np.float32), [0, 1, 2, 1], name="rows")
        )
    for wrong in (
        {"steps": 0},
        {"learning_rate": 0.0},
        {"low": 0.5, "high": 0.5},
        {"nps_weight": -1.0},
        {"area": 0.0},
    ):
        with pytest.raises(SettingError, match=next(iter(wrong))):
            AdversarialPatch(1, **{**QUICK, **wrong})
