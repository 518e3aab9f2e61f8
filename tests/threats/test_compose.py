import pytest
import torch

from quintain.core.errors import DataError, SettingError
from quintain.threats import L2, Color, Compose, ExampleRNG, Negative, Patch, ProjectedLight, Spatial, parse

X = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LIGHT, STICKER = Color(brightness=0.2), Patch(0.2, (0.5, 0.5))


def test_the_order_is_that_of_the_parts() -> None:
    light, sticker = (part.sample(X, ExampleRNG(0, torch.arange(3))) for part in (LIGHT, STICKER))
    before = Compose(LIGHT, STICKER).render(X, torch.cat((light, sticker), 1))
    after = Compose(STICKER, LIGHT).render(X, torch.cat((sticker, light), 1))
    assert torch.equal(before, STICKER.render(LIGHT.render(X, light), sticker))
    assert torch.equal(after, LIGHT.render(STICKER.render(X, sticker), light))
    assert not torch.equal(before, after)


def test_its_size_is_the_largest_share_that_a_part_uses() -> None:
    threat = Compose(LIGHT, ProjectedLight(0.3))
    params = threat.identity(X)
    params[0, 0], params[1, 5], params[2, :2] = -0.5, 0.25, torch.tensor([0.1, 0.75])
    assert threat.measure(params, X).tolist() == [0.5, 0.25, 0.75]


def test_equal_parts_draw_apart() -> None:
    threat = Compose(LIGHT, LIGHT)
    params = threat.sample(X, ExampleRNG(0, torch.arange(3)))
    assert not torch.equal(params[:, 0], params[:, 1])


@pytest.mark.parametrize(
    ("threat", "token"),
    [
        (Compose(LIGHT, Patch(0.05)), "compose:color:brightness=0.2+patch:area=5%"),
        (
            Compose(Negative(), Spatial(15, 3), LIGHT),
            "compose:negative+spatial:rotate=15,shift=3+color:brightness=0.2",
        ),
        (Compose(ProjectedLight(1e-5), LIGHT), "compose:light:1e-05+color:brightness=0.2"),
        (
            Compose(Color(0.2, low=-1), Negative(-1)),
            "compose:color:brightness=0.2[-1.0,1.0]+negative:[-1.0,1.0]",
        ),
    ],
)
def test_tokens_are_written_and_read(threat: Compose, token: str) -> None:
    assert threat.spec == token
    assert parse(token) == threat
    assert hash(parse(token)) == hash(threat)


def test_the_order_is_part_of_the_value() -> None:
    assert Compose(LIGHT, STICKER) != Compose(STICKER, LIGHT)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("compose:patch:area=5%", "expected two or more"),
        ("compose:patch:area=5%+linf:0.1", "expected families"),
        ("compose:color:brightness=0.2+patch:area=5%[-1,1]", "expected one data box"),
        ("compose:color:brightness=0.2+patch", "has no size"),
    ],
)
def test_wrong_tokens_are_refused(token: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        parse(token)


def test_nested_ones_and_balls_are_refused() -> None:
    with pytest.raises(SettingError, match="none composed"):
        Compose(Compose(LIGHT, STICKER), LIGHT)
    with pytest.raises(SettingError, match="expected families"):
        Compose(L2(0.5), LIGHT)  # type: ignore[arg-type]


def test_what_a_part_refuses_is_refused() -> None:
    with pytest.raises(DataError, match="hue needs three"):
        Compose(Color(hue=0.1), STICKER).identity(X[:, :1])
