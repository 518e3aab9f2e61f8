"""The judge of pictures: against brute force, closed forms, and attacks that look at no update."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_interval
from quintain.leakage.judges.intervals import chernoff_interval, median_interval
from quintain.leakage.judges.pictures import (
    MAX_PSNR,
    GuessedUpdate,
    KnownPictures,
    compare_pictures,
    judge_quality,
    judge_reconstructed,
    match_pictures,
    psnr_table,
    quality_table,
    ssim_table,
)
from quintain.results.privacy_records import LEAK_MARGIN

RNG = np.random.default_rng(0)
SHAPE = (1, 12, 12)


def pictures(count, seed=0, shape=SHAPE):
    """Smooth random pictures: noise has no structure that SSIM could see."""
    coarse = np.random.default_rng(seed).random((count, shape[0], 4, 4)).astype(np.float32)
    return np.kron(coarse, np.ones((1, 1, shape[1] // 4, shape[2] // 4), np.float32))


def known(seed=9, count=40):
    return KnownPictures(pictures(count, seed), np.arange(count) % 2)


# -- qualities
# ------------------------------------------------------------------------------------------------------------


def test_psnr_is_that_of_each_pair_and_bounded():
    a, b = np.array([[0.0, 0.5], [1.0, 2.0]]), np.array([[0.0, 0.5], [0.1, 0.6]])
    table = psnr_table(a, b)
    assert table[0] == pytest.approx([MAX_PSNR, 20.0])
    assert table[1, 0] == pytest.approx(-10 * np.log10((1 + 0.25) / 2))  # 2.0 counts as 1.0
    assert psnr_table(np.zeros((1, 2)), np.ones((1, 2))) == [[0.0]]
    assert psnr_table(np.zeros((0, 2)), b).shape == (0, 2)


def slow_ssim(a, b):
    """SSIM of one pair (H, W) with a two-dimensional window, pixel by pixel."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row, column in itertools.product(range(5, a.shape[0] - 5), range(5, a.shape[1] - 5)):
        p, q = (one[row - 5 : row + 6, column - 5 : column + 6].astype(float) for one in (a, b))
        mean_p, mean_q = (window * p).sum(), (window * q).sum()
        var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
        both = (window * (p - mean_p) * (q - mean_q)).sum()
        values.append(
            (2 * mean_p * mean_q + 1e-4)
            * (2 * both + 9e-4)
            / ((mean_p**2 + mean_q**2 + 1e-4) * (var_p + var_q + 9e-4))
        )
    return np.mean(values)


def test_ssim_is_that_of_wang_et_al():
    a, b = pictures(3, 1), pictures(2, 2)
    table = ssim_table(a, b)
    slow = [[slow_ssim(one[0], other[0]) for other in b] for one in a]
    assert np.allclose(table, slow, atol=1e-6)
    assert np.allclose(np.diag(ssim_table(a, a)), 1)
    flat = ssim_table(np.full((1, *SHAPE), 0.2), np.full((1, *SHAPE), 0.6))
    assert flat[0, 0] == pytest.approx((2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4))
    # smaller pictures than the window, and colors
    assert np.allclose(np.diag(ssim_table(a[..., :4, :4], a[..., :4, :4])), 1)
    three = np.concatenate([a, a, a], 1)
    assert np.allclose(ssim_table(three, three[:1])[:, 0], ssim_table(a, a[:1])[:, 0])


# -- matching
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", ["psnr", "ssim"])
@pytest.mark.parametrize(("k", "n"), [(4, 3), (3, 3), (2, 4)])
def test_the_match_is_the_best_of_all_assignments(quality, k, n):
    guesses, originals = pictures(k, 3), pictures(n, 4)
    table = quality_table(guesses, originals, quality)
    most = max(
        sum(table[g, o] for g, o in zip(rows, columns, strict=True))
        for rows in itertools.permutations(range(k), min(k, n))
        for columns in itertools.combinations(range(n), min(k, n))
    )
    found = match_pictures(guesses, originals, quality)
    assert found.qualities.sum() == pytest.approx(most)
    assert (found.guess_rows >= 0).sum() == min(k, n)
    assert len(set(found.guess_rows[found.guess_rows >= 0])) == min(k, n)
    assert (found.qualities[found.guess_rows < 0] == 0).all()


def test_pictures_in_any_order_are_found_and_none_is_counted_twice():
    originals = pictures(4, 5)
    assert (match_pictures(originals[[2, 0, 3, 1]], originals).guess_rows == [1, 3, 0, 2]).all()
    twice = match_pictures(originals[[0, 0, 0, 0]], originals)
    assert (twice.qualities == MAX_PSNR).sum() == 1


def test_guesses_that_cannot_be_judged_are_refused():
    with pytest.raises(DataError, match=r"shape \(1, 4, 4\)"):
        match_pictures(np.zeros((1, 1, 4, 4)), pictures(1))
    with pytest.raises(DataError, match="NaN"):
        match_pictures(np.full((1, *SHAPE), np.nan), pictures(1))
    with pytest.raises(DataError, match="no public picture"):
        KnownPictures(np.zeros((0, *SHAPE)), np.zeros(0, int))
    with pytest.raises(SettingError, match="no update"):
        compare_pictures([], known())


# -- what is known without an update
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", ["psnr", "ssim"])
def test_means_public_pictures_and_one_color_are_known(quality):
    one, public = known(), pictures(40, 9)
    gray = np.full(SHAPE, 0.3, np.float32)
    originals = np.stack([public[7], public.mean(0), public[1::2].mean(0), gray])
    values, images = one.best(originals, quality)
    assert np.allclose(values, MAX_PSNR if quality == "psnr" else 1, atol=1e-5)
    assert np.allclose(images, originals, atol=1e-6)


def test_what_is_known_is_no_less_than_a_match_of_as_many_tries():
    one, originals = known(), pictures(5, 11)
    baselines, _ = one.best(originals)
    for seed in range(20):
        tries = one.public[np.random.default_rng(seed).choice(40, 8, replace=False)]
        assert (match_pictures(tries, originals).qualities <= baselines + 1e-9).all()


# -- verdicts
# ------------------------------------------------------------------------------------------------------------


def trials(make, count=8, each=1):
    """Updates of pictures of their own, what ``make`` guesses from each, and from the next one."""
    originals = [pictures(each, 100 + number) for number in range(count)]
    guesses = [make(one) for one in originals]
    return [GuessedUpdate(originals[i], guesses[i], guesses[(i + 1) % count]) for i in range(count)]


def noisy(x, spread=0.02):
    return x + spread * RNG.standard_normal(x.shape)


def test_pictures_that_come_back_are_counted_with_an_exact_interval():
    judged = compare_pictures(trials(noisy), known())
    found = judge_reconstructed(judged)
    assert (found.value, found.baseline, found.unit) == (1.0, 0.0, "image")
    assert (found.low, found.high) == binomial_interval(8, 8, 0.95)
    assert found.gain == 1
    assert len(found.per_example) == 8
    assert judged.most_exposed == int(np.argmax(found.per_example))
    assert judge_reconstructed(judged, margin=100).value == 0


def test_pictures_of_one_update_are_no_trials_of_their_own():
    judged = compare_pictures(trials(lambda x: noisy(x[:2]), count=6, each=4), known())
    found = judge_reconstructed(judged)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == chernoff_interval(np.full(6, 0.5), 0.95)
    assert found.high - found.low > np.diff(binomial_interval(12, 24, 0.95))[0]
    assert (judged.guess_rows < 0).sum() == 12


@pytest.mark.parametrize(
    "make",
    [
        lambda x: np.zeros((0, *SHAPE)),
        lambda x: np.repeat(pictures(40, 9).mean(0, keepdims=True), len(x), 0),
        lambda x: RNG.random((30, *SHAPE)),
        lambda x: pictures(40, 9)[RNG.choice(40, 20, replace=False)],
        lambda x: pictures(60, 77),
        lambda x: x.mean((2, 3), keepdims=True) + np.zeros(SHAPE),
    ],
    ids=["nothing", "the mean", "noise", "public pictures", "the same other pictures", "one color"],
)
def test_guesses_that_use_no_update_rebuild_nothing(make):
    updates = trials(make, each=3)
    found = judge_reconstructed(compare_pictures(updates, known()))
    assert found.value == 0
    assert found.low == 0
    quality = judge_quality(compare_pictures(updates, known()))
    assert quality.gain <= 0


def test_an_answer_that_holds_all_private_pictures_is_no_leak_of_the_update():
    """It is the same for every update: the unrelated guess holds it too. Without that, it would be a leak."""
    everything = np.concatenate([pictures(1, 100 + number) for number in range(8)])
    updates = trials(lambda _: everything)
    judged = compare_pictures(updates, known())
    assert judge_reconstructed(judged).value == 0
    assert judge_reconstructed(judged).baseline == 1
    without_unrelated = [GuessedUpdate(one.originals, one.guesses, one.guesses[:0]) for one in updates]
    assert judge_reconstructed(compare_pictures(without_unrelated, known())).value == 1


def test_a_margin_separates_a_leak_from_a_little_more():
    one, original = known(), pictures(1, 100)
    floor, image = one.best(original)
    share = 10 ** (-(LEAK_MARGIN * np.array([0.9, 1.1])) / 20)
    verdicts = []
    for part in share:
        guess = original + part * (image - original)  # the error of the best that is known, made smaller
        update = GuessedUpdate(original, guess, np.zeros((0, *SHAPE)))
        verdicts.append(compare_pictures([update, update], one).is_reconstructed().tolist())
    assert floor[0] < MAX_PSNR
    assert verdicts == [[False, False], [True, True]]


def test_the_quality_of_all_pictures_is_judged_by_its_median_over_updates():
    judged = compare_pictures(trials(noisy, count=9, each=2), known())
    found = judge_quality(judged)
    means = judged.qualities.reshape(9, 2).mean(1)
    assert found.value == pytest.approx(np.median(means))
    assert (found.low, found.high) == pytest.approx(median_interval(means, 0.95))
    assert found.measure == "PSNR in dB"
    few = judge_quality(compare_pictures(trials(noisy, count=3), known(), "ssim"))
    assert (few.measure, few.low, few.high) == ("SSIM", -1, 1)


# -- intervals
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
@pytest.mark.parametrize("count", [3, 20])
def test_the_interval_of_a_mean_covers_as_often_as_it_says(p, count):
    """Over all outcomes of coins, which are the worst case of values in [0, 1] for this bound."""
    missed = 0.0
    for hits in range(count + 1):
        low, high = chernoff_interval(np.arange(count) < hits, 0.95)
        missed += binom.pmf(hits, count, p) * (not low <= p <= high)
    assert missed <= 0.05


def test_the_interval_of_a_mean_is_little_wider_than_the_exact_one_at_its_ends():
    low, high = chernoff_interval(np.ones(20), 0.95)
    assert high == 1
    assert low == pytest.approx(np.exp(-np.log(40) / 20), abs=1e-9)
    assert binomial_interval(20, 20, 0.95)[0] - low < 0.01
    assert chernoff_interval(np.zeros(20), 0.95) == pytest.approx((0, 1 - low))


@pytest.mark.parametrize("count", [5, 6, 10, 21])
def test_the_interval_of_a_median_is_between_order_statistics(count):
    values = np.arange(1, count + 1) / 1.0
    low, high = median_interval(values[::-1].copy(), 0.95)
    if count < 6:
        assert (low, high) == (-np.inf, np.inf)
        return
    rank = int(low)
    assert high == count + 1 - rank
    # P[median outside] = 2 P[Bin(T, 1/2) < rank], at most 5 %, and one rank further in it would be more
    assert 2 * binom.cdf(rank - 1, count, 0.5) <= 0.05 < 2 * binom.cdf(rank, count, 0.5)
