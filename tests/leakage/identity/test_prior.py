import numpy as np
import pytest
import torch

from quintain.core.errors import DataError, SettingError
from quintain.data import from_arrays
from quintain.leakage.identity.prior import BOX, fit_prior
from tests.leakage.identity.people import pictures


def test_coordinates_are_white_and_uncorrelated_over_the_public_pictures():
    public = pictures(range(20), 5)
    prior = fit_prior(public, components=6, exponent=1.0, mirror=False)
    x = public.batch(range(len(public)))[0].double().flatten(1)
    w = (x - prior.mean) @ prior.basis.T / prior.basis.square().sum(1)
    assert torch.allclose(w.T @ w / len(w), torch.eye(6, dtype=torch.float64), atol=1e-9)
    assert torch.equal(prior.encode(public.batch(range(100))[0]), w.clamp(-BOX, BOX))


def test_with_all_components_a_public_picture_inside_the_box_comes_back():
    public = pictures(range(10), 1)
    prior = fit_prior(public, components=100, exponent=1.0)
    assert prior.dimension == 19  # ten pictures and their mirror images, less the mean
    x, _ = public.batch(range(10))
    w = prior.encode(x)
    inside = (w.abs() < BOX).all(1)
    assert inside.any()
    assert torch.allclose(prior.render(w)[inside], x[inside], atol=1e-5)


def test_an_exponent_below_one_shortens_the_long_directions_and_keeps_the_distance_from_the_mean():
    public = pictures(range(20), 5)
    white, flat, even = (fit_prior(public, exponent=one).basis.square().sum(1) for one in (1.0, 0.5, 0.0))
    assert torch.isclose(white.sum(), flat.sum())
    assert white[0] > flat[0] > even[0]
    assert torch.allclose(even, even.mean().expand_as(even))


def test_mirror_images_are_as_likely_as_the_pictures():
    prior = fit_prior(pictures(range(10), 1), components=5)
    mean = prior.mean.view(1, 8, 8)
    assert torch.allclose(mean, mean.flip(-1), atol=1e-12)


def test_vectors_have_no_mirror_images_and_pictures_are_in_the_box_of_data():
    public = from_arrays(np.random.default_rng(0).random((30, 6)), np.arange(30) % 3)
    prior = fit_prior(public)
    x = prior.render(torch.full((2, prior.dimension), 9.0))
    assert prior.dimension == 6
    assert x.shape == (2, 6)
    assert ((x >= 0) & (x <= 1)).all()


def test_what_cannot_be_learned_from_is_refused():
    equal = from_arrays(np.full((4, 1, 4, 4), 0.5), np.arange(4) % 2)
    with pytest.raises(DataError, match="are equal; expected pictures that differ"):
        fit_prior(equal)
    with pytest.raises(SettingError, match="components = 0; expected at least 1"):
        fit_prior(pictures(range(3), 2), components=0)
    with pytest.raises(SettingError, match="exponent = 2; expected 0 to 1"):
        fit_prior(pictures(range(3), 2), exponent=2)
