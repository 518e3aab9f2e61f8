"""Every registered family: what no change, an allowed change, a projected one and a random one must be."""

import pytest
import torch

from quintain.core.errors import SettingError
from quintain.core.registry import declared_entries
from quintain.testing import (
    check_empty_images,
    check_gradient_at_identity,
    check_gradients,
    check_identity,
    check_nan_parameters_not_allowed,
    check_no_images_refused,
    check_other_parameters_refused,
    check_parametric_step,
    check_projected_parameters,
    check_rendered_alike,
    check_sampled_parameters,
    check_spec,
    check_threat,
    random_inputs,
)
from quintain.testing.parametric_laws import first_ids, random_parameters
from quintain.threats import ParametricThreat, parse
from quintain.threats.parametric import is_allowed

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
    {entry.fact("example") for entry in declared_entries("threat").values() if entry.is_true("parametric")}
    | set(MORE)
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


@every_case
@every_dtype
def test_no_change_is_the_picture_bit_for_bit(token: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    check_identity(family_of(token), random_inputs(4, *shape, dtype=dtype))


@every_case
@every_dtype
def test_projected_parameters_are_allowed_and_stay(
    token: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    check_projected_parameters(family_of(token), random_inputs(5, *shape, seed=1, dtype=dtype))


@every_case
@every_dtype
def test_samples_are_allowed_and_belong_to_the_example(
    token: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    check_sampled_parameters(family_of(token), random_inputs(5, *shape, seed=2, dtype=dtype))


@pytest.mark.rounding
@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_picture_is_rendered_alike_in_every_batch(
    token: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    check_rendered_alike(family_of(token), random_inputs(9, *shape, seed=3, dtype=dtype))


@every_case
def test_gradients_are_those_of_finite_differences(token: str, shape: tuple[int, ...]) -> None:
    """A patch beside the middle, at which its place jumps."""
    check_gradients(family_of(token.replace("0.5x0.5", "0.45x0.45")), random_inputs(1, *shape), jumps=False)


@every_case
def test_gradients_at_no_change_are_finite(token: str, shape: tuple[int, ...]) -> None:
    check_gradient_at_identity(family_of(token), random_inputs(3, *shape, seed=6))


@every_case
def test_a_step_has_the_size_asked_for(token: str, shape: tuple[int, ...]) -> None:
    check_parametric_step(family_of(token), random_inputs(3, *shape))


@pytest.mark.parametrize("token", [*TOKENS, *COLORED])
def test_tokens_are_exact(token: str) -> None:
    check_spec(family_of(token))


@every_case
def test_a_parameter_that_is_not_a_number_is_never_allowed(token: str, shape: tuple[int, ...]) -> None:
    check_nan_parameters_not_allowed(family_of(token), random_inputs(1, *shape))


@every_case
def test_an_empty_batch_stays_empty(token: str, shape: tuple[int, ...]) -> None:
    check_empty_images(family_of(token), torch.empty(0, *shape))


@pytest.mark.parametrize("token", [*TOKENS, *COLORED])
def test_what_is_no_picture_is_refused(token: str) -> None:
    check_no_images_refused(family_of(token))


@every_case
def test_parameters_of_other_pictures_are_refused(token: str, shape: tuple[int, ...]) -> None:
    check_other_parameters_refused(family_of(token), random_inputs(2, *shape))


@pytest.mark.parametrize("token", sorted({token for token in TOKENS if token not in MORE}))
def test_a_third_party_can_check_all_of_it_at_once(token: str) -> None:
    check_threat(family_of(token))


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
    x = (random_inputs(6, 1, 4, 4, dtype=torch.float32) * (high - low) + low).clamp(low, high)
    x = torch.where(x.double() < low, x + 1e-6, torch.where(x.double() > high, x - 1e-6, x))
    assert torch.equal(threat.render(x, threat.identity(x)), x)
    for params in (threat.sample(x, first_ids(6)), threat.project(random_parameters(threat, x), x)):
        assert is_allowed(threat, params, x).all()
