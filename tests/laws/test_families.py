"""Every registered family: what no change, an allowed change, a projected one and a random one must be."""

import pytest
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.core.registry import entries
from quintain.threats import ExampleRNG, ParametricThreat, parse
from quintain.threats.parametric import identity, is_allowed, to_image
from tests.laws.checks_attacks import inputs

MORE = (
    "patch:area=5%",
    "patch:area=100%",
    "patch:shape=eyeglasses",
    "light:0.3,form=albedo",
    "light:0",
    "spatial:flow=1.5",
    "spatial:rotate=180,shift=2.5,scale=0.5,flow=0.25,fill=border",
    "color:brightness=1,contrast=1",
    "compose:negative+spatial:rotate=10+light:0.2",
    "compose:patch:area=10%+patch:area=20%",
)
TOKENS = sorted(
    {entry.fact("example") for entry in entries("threat").values() if entry.is_true("parametric")} | set(MORE)
)
COLORED = (
    "color:hue=0.5",
    "color:brightness=0.2,contrast=0.3,hue=0.1",
    "compose:color:hue=0.1+patch:area=5%",
)
CASES = (
    [(token, (1, 4, 4)) for token in TOKENS]
    + [(token, (3, 5, 2)) for token in (*TOKENS, *COLORED)]
    + [(t, (1, 2, 3)) for t in TOKENS]
)
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

every_case = pytest.mark.parametrize(("token", "shape"), CASES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def family_of(token: str) -> ParametricThreat:
    threat = parse(token)
    assert isinstance(threat, ParametricThreat)
    return threat


def anything(threat: ParametricThreat, x: Tensor, *, seed: int = 0) -> Tensor:
    """Parameters that may lie anywhere."""
    nothing = threat.identity(x)
    return (
        3 * torch.randn(nothing.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).to(nothing.dtype)


def rising(count: int) -> ExampleRNG:
    return ExampleRNG(0, torch.arange(count))


@every_case
@every_dtype
def test_no_change_is_the_picture_bit_for_bit(token: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    threat, x = family_of(token), inputs(4, *shape, dtype=dtype)
    nothing = threat.identity(x)
    assert nothing.dtype == dtype
    assert torch.equal(threat.render(x, nothing), x)
    assert torch.equal(threat.measure(nothing, x), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(threat.project(nothing, x), nothing)
    assert is_allowed(threat, nothing, x).all()
    assert torch.equal(to_image(threat, identity(threat, x), x), x)


@every_case
@every_dtype
def test_projected_parameters_are_allowed_and_stay(
    token: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    threat, x = family_of(token), inputs(5, *shape, seed=1, dtype=dtype)
    for wild in (anything(threat, x), anything(threat, x) * 1e4, -anything(threat, x)):
        once = threat.project(wild, x, threat.projection_cache(x))
        assert is_allowed(threat, once, x).all()
        assert torch.equal(threat.project(once, x), once)
        image = threat.render(x, once)
        assert image.shape == x.shape
        assert image.dtype == dtype
        assert threat.measure(once, x).dtype == torch.float64


@every_case
@every_dtype
def test_samples_are_allowed_and_belong_to_the_example(
    token: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    threat, x, ids = family_of(token), inputs(5, *shape, seed=2, dtype=dtype), torch.arange(5) * 7 + 3
    params = threat.sample(x, ExampleRNG(1, ids))
    assert is_allowed(threat, params, x).all()
    assert torch.equal(threat.sample(x[2:4], ExampleRNG(1, ids[2:4])), params[2:4])
    assert torch.equal(threat.sample(x.flip(0), ExampleRNG(1, ids.flip(0))).flip(0), params)
    assert token == "negative" or not torch.equal(threat.sample(x, ExampleRNG(2, ids)), params)


@pytest.mark.rounding
@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_picture_is_rendered_alike_in_every_batch(
    token: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    threat, x = family_of(token), inputs(9, *shape, seed=3, dtype=dtype)
    params = threat.sample(x, rising(9))
    whole = threat.render(x, params)
    for part in (*torch.arange(9).split(1), *torch.arange(9).flip(0).split(4)):
        assert torch.equal(threat.render(x[part], params[part]), whole[part])


@every_case
def test_gradients_are_those_of_finite_differences(token: str, shape: tuple[int, ...]) -> None:
    threat = family_of(token.replace("0.5x0.5", "0.45x0.45"))
    x = 0.2 + 0.6 * torch.rand(1, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weight = torch.randn(1, *shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    params = threat.sample(x, rising(1))
    followed = params.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weight * threat.render(x, followed)).sum(), followed)
    assert gradient.isfinite().all()
    step = 1e-6
    for place in range(params.shape[1]):
        ahead, behind = params.clone(), params.clone()
        ahead[0, place] += step
        behind[0, place] -= step
        slope = (weight * (threat.render(x, ahead) - threat.render(x, behind))).sum() / (2 * step)
        assert torch.isclose(gradient[0, place], slope, rtol=1e-5, atol=1e-6), place


@every_case
def test_gradients_at_no_change_are_finite(token: str, shape: tuple[int, ...]) -> None:
    threat, x = family_of(token), inputs(3, *shape, seed=6)
    nothing = threat.identity(x).requires_grad_()
    (gradient,) = torch.autograd.grad(threat.render(x, nothing).square().sum(), nothing)
    assert gradient.isfinite().all()


@every_case
def test_a_step_has_the_size_asked_for(token: str, shape: tuple[int, ...]) -> None:
    threat, x = family_of(token), inputs(3, *shape)
    gradient = anything(threat, x)
    assert torch.equal(threat.steepest_step(gradient, 0.25).abs(), torch.full_like(gradient, 0.25))
    assert ((threat.steepest_step(gradient, 0.25) * gradient) >= 0).all()
    assert not threat.steepest_step(torch.zeros_like(gradient), 0.25).any()
    assert threat.eps == 1


@pytest.mark.parametrize("token", [*TOKENS, *COLORED])
def test_tokens_are_exact(token: str) -> None:
    threat = parse(token)
    again = parse(threat.spec)
    assert again == threat
    assert hash(again) == hash(threat)
    assert again.spec == threat.spec
    assert len({threat, again}) == 1


@every_case
def test_a_parameter_that_is_not_a_number_is_never_allowed(token: str, shape: tuple[int, ...]) -> None:
    threat, x = family_of(token), inputs(1, *shape)
    params = threat.sample(x, rising(1))
    for place in range(params.shape[1]):
        ill = params.clone()
        ill[0, place] = torch.nan
        assert not is_allowed(threat, ill, x).any()


@every_case
def test_an_empty_batch_stays_empty(token: str, shape: tuple[int, ...]) -> None:
    threat, x = family_of(token), torch.empty(0, *shape)
    params = threat.identity(x)
    assert threat.render(x, params).shape == x.shape
    assert threat.sample(x, rising(0)).shape == threat.project(params, x).shape == params.shape
    assert is_allowed(threat, params, x).shape == threat.measure(params, x).shape == (0,)


@pytest.mark.parametrize("token", [*TOKENS, *COLORED])
def test_what_is_no_picture_is_refused(token: str) -> None:
    threat = family_of(token)
    with pytest.raises(DataError, match=r"expected images \(B, C, H, W\)"):
        threat.identity(torch.rand(2, 5))


@every_case
def test_parameters_of_other_pictures_are_refused(token: str, shape: tuple[int, ...]) -> None:
    threat, x = family_of(token), inputs(2, *shape)
    params = threat.identity(x)
    for wrong in (params[:1], torch.cat((params, params), 1), params[:, :0]):
        with pytest.raises(DataError, match=r"expected \(2, "):
            threat.render(x, wrong)


@pytest.mark.parametrize("kind", sorted({token.partition(":")[0] for token in TOKENS} - {"compose"}))
def test_unknown_and_doubled_options_are_refused(kind: str) -> None:
    with pytest.raises(SettingError, match=f"no option of {kind}; expected "):
        parse(f"{kind}:size=3")
    with pytest.raises(SettingError, match="cannot be read"):
        parse(f"{kind}:[0]")


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("box", [(-1.0, 2.0), (0.25, 0.75), (-0.7, -0.1)])
def test_other_boxes_are_kept(token: str, box: tuple[float, float]) -> None:
    low, high = box
    name, _, size = token.partition(":")
    parts = size.split("+") if name == "compose" else [token]
    boxed = "+".join(f"{part if ':' in part else part + ':'}[{low!r},{high!r}]" for part in parts)
    threat = family_of(f"compose:{boxed}" if name == "compose" else boxed)
    assert (threat.low, threat.high) == box
    assert parse(threat.spec) == threat
    x = (inputs(6, 1, 4, 4, dtype=torch.float32) * (high - low) + low).clamp(low, high)
    x = torch.where(x.double() < low, x + 1e-6, torch.where(x.double() > high, x - 1e-6, x))
    assert torch.equal(threat.render(x, threat.identity(x)), x)
    for params in (threat.sample(x, rising(6)), threat.project(anything(threat, x), x)):
        assert is_allowed(threat, params, x).all()
