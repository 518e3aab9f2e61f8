import pytest
import torch

from quintain.attacks import MIFGSM, TIFGSM
from quintain.attacks.transfer.ti_fgsm import gaussian, smooth_gradient
from quintain.core.errors import DataError, SettingError
from quintain.threats import Linf
from tests.attacks.gradient.watched import scene


def test_smoothing_is_a_mean_over_shifted_gradients() -> None:
    gradient = torch.randn(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = gaussian(5, gradient)
    padded = torch.nn.functional.pad(gradient, (2, 2, 2, 2))
    shifted = sum(
        weights[i] * weights[j] * padded[:, :, i : i + 7, j : j + 9] for i in range(5) for j in range(5)
    )
    assert torch.allclose(smooth_gradient(gradient, weights), shifted)


def test_the_kernel_is_the_published_one() -> None:
    weights = gaussian(15, torch.zeros(1, dtype=torch.float64))
    assert weights.sum().item() == pytest.approx(1)
    assert torch.equal(weights, weights.flip(0))
    assert (weights[7] / weights[0]).log().item() == pytest.approx(4.5)


def test_a_kernel_of_one_pixel_changes_nothing() -> None:
    model, x, y = scene(1, 4, 4)
    assert torch.equal(
        TIFGSM(kernel_size=1)(model, x, y, Linf(0.1)).adversarial,
        MIFGSM()(model, x, y, Linf(0.1)).adversarial,
    )


def test_the_first_step_follows_the_smoothed_sign() -> None:
    model, x, y = scene(1, 6, 6)
    TIFGSM(kernel_size=3)(model, x, y, Linf(0.1))
    step = smooth_gradient(model.slope(x), gaussian(3, x)).sign()
    assert torch.allclose(model.asked[2], (x + 0.01 * step).clamp(0, 1))


def test_only_pictures_have_neighbors() -> None:
    with pytest.raises(DataError, match=r"ti-fgsm; expected images"):
        TIFGSM()(*scene(9), Linf(0.1))
    with pytest.raises(SettingError, match=r"kernel_size = 4; expected an odd number"):
        TIFGSM(kernel_size=4)
