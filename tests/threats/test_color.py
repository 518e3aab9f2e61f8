import pytest
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.threats import Color, Negative, parse

X = 0.3 + 0.4 * torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def colored(threat: Color, *params: float, x: Tensor = X) -> Tensor:
    return threat.render(x, torch.tensor([params], dtype=x.dtype).expand(len(x), -1))


def test_brightness_adds_and_contrast_stretches() -> None:
    assert torch.allclose(colored(Color(brightness=0.2), -0.5), X - 0.1)
    assert torch.allclose(colored(Color(contrast=0.5), 1.0), 0.5 + 1.5 * (X - 0.5))
    assert torch.allclose(colored(Color(contrast=1), -1.0), torch.full_like(X, 0.5))
    assert torch.allclose(colored(Color(0.1, 0.2), 1.0, -1.0), 0.5 + 0.8 * (X - 0.5) + 0.1)


def test_a_third_of_the_circle_swaps_the_channels() -> None:
    assert torch.allclose(colored(Color(hue=0.5), 2 / 3), X.roll(1, 1), atol=1e-12)
    assert torch.allclose(colored(Color(hue=0.5), -2 / 3), X.roll(-1, 1), atol=1e-12)


def test_hue_keeps_gray_and_the_mean_of_the_channels() -> None:
    turned = colored(Color(hue=0.1), 0.7)
    assert torch.allclose(turned.mean(1), X.mean(1))
    gray = X[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(colored(Color(hue=0.1), 0.7, x=gray), gray)


def test_what_leaves_the_box_is_cut() -> None:
    image = colored(Color(brightness=1, contrast=1), 1.0, 1.0)
    assert image.max() == 1
    assert colored(Color(brightness=1), -1.0).max() == 0


def test_hue_needs_three_channels() -> None:
    with pytest.raises(DataError, match="hue needs three"):
        Color(0.1, hue=0.1).identity(X[:, :1])


@pytest.mark.parametrize(
    "token", ["color:brightness=0", "color:hue=0.6", "color:contrast=2", "color:gamma=2", "color:", "color"]
)
def test_wrong_tokens_are_refused(token: str) -> None:
    with pytest.raises(SettingError, match=r"expected|has no size"):
        parse(token)


@pytest.mark.parametrize("token", ["negative", "negative:", " Negative : "])
def test_the_negative_has_no_size(token: str) -> None:
    assert parse(token) == Negative()
    assert Negative().spec == "negative"


def test_the_negative_is_the_only_candidate() -> None:
    x, threat = X.float(), Negative()
    assert torch.equal(threat.render(x, torch.tensor([[1.0], [0.0]])), torch.stack((1 - x[0], x[1])))
    assert threat.project(torch.tensor([[0.4], [0.6]]), x).tolist() == [[0.0], [1.0]]
    assert torch.equal(Negative(-1, 3).render(x, torch.ones(2, 1)), 2 - x)
