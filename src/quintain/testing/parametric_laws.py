"""The laws of parametric threats: no change, allowed changes, projected and random parameters, gradients."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from quintain.core.errors import DataError
from quintain.testing.checking import Law, require, require_equal
from quintain.testing.models import random_inputs
from quintain.threats import ExampleRNG, ParametricThreat, parse
from quintain.threats.parametric import identity, is_allowed, to_image

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SHAPES = ((1, 4, 4), (3, 5, 2))


def parametric_laws(threat: ParametricThreat) -> list[Law]:
    """Return the laws of a parametric threat by name, each on images of several shapes and types."""

    def each(
        check: Callable[..., None], count: int, dtypes: tuple[torch.dtype, ...] = (torch.float64,)
    ) -> None:
        for dtype in dtypes:
            for shape in SHAPES:
                check(threat, random_inputs(count, *shape, seed=count, dtype=dtype))

    return [
        ("no change is the image", partial(each, check_identity, 4, DTYPES)),
        ("projected parameters are allowed and stay", partial(each, check_projected_parameters, 5, DTYPES)),
        ("samples are allowed", partial(each, check_sampled_parameters, 5, DTYPES)),
        ("an image is rendered alike in every batch", partial(each, check_rendered_alike, 9, DTYPES[2:])),
        ("gradients at no change are finite", partial(each, check_gradient_at_identity, 3)),
        ("gradients are those of finite differences", partial(each, check_gradients, 1)),
        ("a step has the size asked for", partial(each, check_parametric_step, 3)),
        (
            "spec is exact",
            lambda: require(parse(threat.spec) == threat, "a spec that is read as an equal threat"),
        ),
        ("what is not a number is not allowed", partial(each, check_nan_parameters_not_allowed, 1)),
        ("an empty batch stays empty", partial(each, check_empty_images, 0)),
        ("what is no image is refused", partial(check_no_images_refused, threat)),
        ("parameters of other images are refused", partial(each, check_other_parameters_refused, 2)),
    ]


def random_parameters(threat: ParametricThreat, x: Tensor, *, seed: int = 0) -> Tensor:
    """Return parameters (B, P) that may lie anywhere."""
    nothing = threat.identity(x)
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(nothing.shape, generator=generator, dtype=torch.float64)).to(nothing.dtype)


def check_identity(threat: ParametricThreat, x: Tensor) -> None:
    """No change is allowed, has size 0 and is the image, bit for bit.

    Args:
        threat: The threat.
        x: Images (B, C, H, W) in the box, as in all laws here.

    Raises:
        AssertionError: If not.
    """
    nothing = threat.identity(x)
    require(nothing.dtype == x.dtype, f"parameters of {x.dtype}, as the images", f"{nothing.dtype}")
    require_equal(threat.render(x, nothing), x, "no change to render the image, bit for bit")
    zeros = torch.zeros(len(x), dtype=torch.float64)
    require_equal(threat.measure(nothing, x), zeros, "no change to have size 0 in float64")
    require_equal(threat.project(nothing, x), nothing, "no change to stay under project")
    require(is_allowed(threat, nothing, x), "no change to be allowed")
    require_equal(
        to_image(threat, identity(threat, x), x), x, "the point that changes nothing to be the image"
    )


def check_projected_parameters(threat: ParametricThreat, x: Tensor) -> None:
    """Projected parameters are allowed, stay under a second projection, and render images like those given.

    Raises:
        AssertionError: If not.
    """
    anywhere = random_parameters(threat, x)
    for params in (anywhere, anywhere * 1e4, -anywhere):
        once = threat.project(params, x, threat.projection_cache(x))
        require(is_allowed(threat, once, x), "projected parameters to be allowed")
        require_equal(threat.project(once, x), once, "projected parameters to stay, bit for bit")
        image = threat.render(x, once)
        require(image.shape == x.shape, f"rendered images {tuple(x.shape)}", f"{tuple(image.shape)}")
        require(image.dtype == x.dtype, f"rendered images of {x.dtype}", f"{image.dtype}")
        require(threat.measure(once, x).dtype == torch.float64, "sizes in float64")


def check_sampled_parameters(threat: ParametricThreat, x: Tensor) -> None:
    """Sampled parameters are allowed, follow their example, and differ between seeds unless all are whole.

    Raises:
        AssertionError: If not.
    """
    ids = torch.arange(len(x)) * 7 + 3
    params = threat.sample(x, ExampleRNG(1, ids))
    require(is_allowed(threat, params, x), "sampled parameters to be allowed")
    part = threat.sample(x[2:4], ExampleRNG(1, ids[2:4]))
    require_equal(part, params[2:4], "sampled parameters that do not depend on the rest of the batch")
    turned = threat.sample(x.flip(0), ExampleRNG(1, ids.flip(0))).flip(0)
    require_equal(turned, params, "sampled parameters that follow the example's id")
    # whole numbers (negative: 0 or 1) of two seeds may well be the same
    if not (params == params.round()).all():
        other = threat.sample(x, ExampleRNG(2, ids))
        require(not torch.equal(other, params), "other parameters under another seed", "the same")


def check_rendered_alike(threat: ParametricThreat, x: Tensor) -> None:
    """An image is rendered alike, bit for bit, alone and in every batch.

    Raises:
        AssertionError: If not.
    """
    params = threat.sample(x, first_ids(len(x)))
    whole = threat.render(x, params)
    for part in (*torch.arange(len(x)).split(1), *torch.arange(len(x)).flip(0).split(4)):
        require_equal(
            threat.render(x[part], params[part]), whole[part], "an image rendered alike in every batch"
        )


def check_gradients(threat: ParametricThreat, x: Tensor, *, jumps: bool = True) -> None:
    """Gradients of rendered images are those of central differences, at random parameters of one image.

    Args:
        threat: The threat.
        x: One image (1, C, H, W), for its shape.
        jumps: Whether a parameter at which the image jumps, and so has no gradient, is left out: there a
            shorter step gives a steeper difference.

    Raises:
        AssertionError: If not.
    """
    x = 0.2 + 0.6 * torch.rand(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    params = threat.sample(x, first_ids(1))
    followed = params.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weight * threat.render(x, followed)).sum(), followed)
    require(gradient.isfinite(), "finite gradients")

    def slope_at(place: int, step: float) -> Tensor:
        ahead, behind = params.clone(), params.clone()
        ahead[0, place] += step
        behind[0, place] -= step
        return (weight * (threat.render(x, ahead) - threat.render(x, behind))).sum() / (2 * step)

    for place in range(params.shape[1]):
        slope = slope_at(place, 1e-6)
        alike = torch.isclose(gradient[0, place], slope, rtol=1e-5, atol=1e-6)
        jumps = not alike and bool(slope_at(place, 1e-7).abs() > 5 * slope.abs())
        require(
            bool(alike) or jumps,
            f"a gradient of {slope:.6g} for parameter {place}",
            f"{gradient[0, place]:.6g}",
        )


def check_gradient_at_identity(threat: ParametricThreat, x: Tensor) -> None:
    """Gradients at no change are finite.

    Raises:
        AssertionError: If not.
    """
    nothing = threat.identity(x).requires_grad_()
    (gradient,) = torch.autograd.grad(threat.render(x, nothing).square().sum(), nothing)
    require(gradient.isfinite().all(1), "finite gradients at no change")


def check_parametric_step(threat: ParametricThreat, x: Tensor) -> None:
    """The steepest step changes each parameter by the size asked for, uphill; a zero gradient gives no step.

    Raises:
        AssertionError: If not.
    """
    gradient = random_parameters(threat, x)
    step = threat.steepest_step(gradient, 0.25)
    require_equal(step.abs(), torch.full_like(gradient, 0.25), "a step of 0.25 in each parameter")
    require((step * gradient >= 0).all(1), "a step uphill")
    require(not threat.steepest_step(torch.zeros_like(gradient), 0.25).any(), "no step along a zero gradient")
    require(threat.eps == 1, "eps = 1, the whole allowance", f"{threat.eps}")


def check_nan_parameters_not_allowed(threat: ParametricThreat, x: Tensor) -> None:
    """Parameters with one that is NaN are not allowed.

    Raises:
        AssertionError: If they are.
    """
    params = threat.sample(x, first_ids(len(x)))
    for place in range(params.shape[1]):
        ill = params.clone()
        ill[0, place] = torch.nan
        require(not is_allowed(threat, ill, x).any(), f"NaN as parameter {place} not to be allowed")


def check_empty_images(threat: ParametricThreat, x: Tensor) -> None:
    """An empty batch (0, C, H, W) stays empty.

    Raises:
        AssertionError: If not.
    """
    params = threat.identity(x)
    require(threat.render(x, params).shape == x.shape, "an empty batch to stay empty under render")
    sampled, projected = threat.sample(x, first_ids(0)), threat.project(params, x)
    require(sampled.shape == projected.shape == params.shape, "an empty batch to have no parameters")
    sizes = threat.measure(params, x)
    require(is_allowed(threat, params, x).shape == sizes.shape == (0,), "an empty batch to have no sizes")


def check_no_images_refused(threat: ParametricThreat) -> None:
    """Inputs that are no images raise ``DataError``, which says what shape was expected.

    Raises:
        AssertionError: If they do not.
    """
    try:
        threat.identity(torch.rand(2, 5))
    except DataError as error:
        require("expected images (B, C, H, W)" in str(error), "a message on images (B, C, H, W)", str(error))
    else:
        require(False, "inputs (2, 5), which are no images, to raise DataError", "nothing")


def check_other_parameters_refused(threat: ParametricThreat, x: Tensor) -> None:
    """Parameters that do not belong to the images raise ``DataError``, which says what shape was expected.

    Raises:
        AssertionError: If they do not.
    """
    params = threat.identity(x)
    for wrong in (params[:1], torch.cat((params, params), 1), params[:, :0]):
        try:
            threat.render(x, wrong)
        except DataError as error:
            require(f"expected ({len(x)}, " in str(error), f"a message on ({len(x)}, P)", str(error))
        else:
            require(
                False, f"parameters {tuple(wrong.shape)} of {len(x)} images to raise DataError", "nothing"
            )


def first_ids(count: int) -> ExampleRNG:
    """Return the random numbers of examples 0, 1, 2 ... under seed 0."""
    return ExampleRNG(0, torch.arange(count))
