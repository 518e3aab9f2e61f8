"""Reconstruction with its controls."""

import itertools

import numpy as np
import pytest
import torch

from quintain.core.errors import DataError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import from_arrays
from quintain.evaluate.steps.leak import run_leak
from quintain.leakage import GradientInversion, ImprintLayer, InversionResult, invert_gradient
from quintain.models.nets import mlp, xray_cnn
from quintain.results.privacy_records import LEAK_MARGIN


@pytest.fixture(scope="module")
def leaked(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("leak")
    return folder, run_leak(mlp().eval(), train, steps=60, seed=1, folder=folder, show=True)


def test_a_plain_update_gives_the_picture_away_and_a_sum_and_a_private_one_far_less(leaked):
    """The first layer of this net gives its input away in closed form, so that no search decides."""
    plain, summed, private = leaked[1].result.reconstructions
    floors = leaked[1].result.baseline_psnr_by_site
    assert plain.psnr > floors[0] + 15
    assert plain.leaks
    assert summed.psnr < plain.psnr - 15
    assert private.psnr < plain.psnr - 15
    assert (len(plain.psnr_by_site), len(summed.psnr_by_site), len(private.psnr_by_site)) == (1, 5, 1)
    assert summed.leaks == any(
        found >= known + LEAK_MARGIN for found, known in zip(summed.psnr_by_site, floors, strict=True)
    )
    assert [note for note in leaked[1].notes if "not rebuilt" in note] == []


def test_the_pictures_are_files_of_the_run_folder(leaked):
    folder, outcome = leaked
    body = outcome.result
    pictures = [
        body.original,
        body.mean_image.picture,
        body.nearest_image.picture,
        *(one.picture for one in body.reconstructions),
    ]
    from quintain.core.files import sha256_file

    assert all(sha256_file(folder / picture.path) == picture.sha256 for picture in pictures)


@pytest.fixture
def rebuilt(train, tmp_path):
    """The outcome where the attack on the sum finds the pictures given, one for each try, the one on the
    plain update its own or nothing, and the one on the private update nothing.
    """

    def run(make, show=False, data=train, net=None, works=False):
        rows = np.random.default_rng(derive_seed(1, "victims")).permutation(len(data))
        originals, public = data.batch(rows[:5])[0], data.batch(np.sort(rows[5:]))
        plain = originals[0] if works else torch.rand(data.shape)
        # the last ones are of the control
        answers = [plain, *make(originals, *public), *torch.rand(3 + 3, *data.shape)]
        tries = iter(answers)

        def attack(*_given, **_words):
            return InversionResult(next(tries), 0, 0.0, "matching")

        return run_leak(net or xray_cnn().eval(), data, attack=attack, seed=1, folder=tmp_path, show=show)

    return run


def noisy(image, spread=0.02):
    return (image + spread * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def test_a_sum_that_gives_away_the_picture_of_any_site_is_said_to(rebuilt):
    outcome = rebuilt(
        lambda originals, *_public: [
            torch.zeros_like(originals[0]),
            noisy(originals[3]),
            torch.zeros_like(originals[0]),
        ],
        works=True,
    )
    summed = outcome.result.reconstructions[1]
    assert summed.leaks
    assert summed.site == 4
    assert (
        summed.psnr
        == summed.psnr_by_site[3]
        > 30
        > summed.baseline_psnr
        == outcome.result.baseline_psnr_by_site[3]
    )
    assert any("gives away the image of site 4" in note for note in outcome.notes)
    assert not any("hides an update" in note or "nothing was rebuilt" in note for note in outcome.notes)


def test_what_is_known_without_the_update_is_no_leak(rebuilt):
    """The mean of a class, and a public picture that happens to be near, beat the mean of all: neither comes
    from the update.
    """

    def guesses(originals, public, labels):
        nearest = public[(public - originals[2]).square().flatten(1).mean(1).argmin()]
        return [public[labels == 0].mean(0), public[labels == 1].mean(0), nearest]

    outcome = rebuilt(guesses)
    plain, summed, private = outcome.result.reconstructions
    assert not summed.leaks
    assert all(
        found <= known
        for found, known in zip(summed.psnr_by_site, outcome.result.baseline_psnr_by_site, strict=True)
    )
    assert any(
        "nothing was reconstructed from the sum of 5 that is not known without it" in note
        for note in outcome.notes
    )
    assert any("says nothing about the two protections" in note for note in outcome.notes)
    assert not plain.leaks
    assert not private.leaks


def test_a_private_update_that_leaks_is_said_to(train, tmp_path):
    rows = np.random.default_rng(derive_seed(1, "victims")).permutation(len(train))
    first = train.batch(rows[:1])[0][0]
    tries = iter([noisy(first)] * 7 + [torch.zeros_like(first)] * 3)

    def attack(*_given, **_words):
        return InversionResult(next(tries), 0, 0.0, "gradient")

    outcome = run_leak(xray_cnn().eval(), train, attack=attack, seed=1, folder=tmp_path, show=False)
    assert outcome.result.reconstructions[2].leaks
    assert any("its noise is too small" in note for note in outcome.notes)
    assert not any("guarantee" in note for note in outcome.notes)


@pytest.mark.parametrize("classes", [3, 10])
def test_an_attack_that_looks_at_no_update_leaks_nothing(classes, tmp_path):
    """It answers with the mean of one class after the other, those of rare classes among them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 400)
    centers = rng.random((classes, 1, 8, 8)) * 0.8 + 0.1
    x = np.clip(centers[labels] + 0.05 * rng.standard_normal((400, 1, 8, 8)), 0, 1).astype(np.float32)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes)).eval()
    for seed in range(4):
        means = itertools.cycle([torch.from_numpy(x[labels == one].mean(0)) for one in range(classes)])

        def blind(*_given, means=means, **_words):
            return InversionResult(next(means), 0, 0.0, "matching")

        outcome = run_leak(
            net,
            from_arrays(x, labels.tolist()),
            attack=blind,
            seed=seed,
            folder=tmp_path / str(seed),
            show=False,
        )
        assert [one.leaks for one in outcome.result.reconstructions] == [False] * 3
        assert not any("gives away" in note for note in outcome.notes)


def test_a_sum_gives_nothing_away_where_the_plain_update_gave_nothing(rebuilt):
    """The same attack has not been shown to work, and what it found is told without a verdict."""
    outcome = rebuilt(lambda originals, *_public: [noisy(originals[3])] * 3)
    plain, summed, private = outcome.result.reconstructions
    assert summed.psnr > summed.baseline_psnr + 10
    assert [plain.leaks, summed.leaks, private.leaks] == [False] * 3
    assert any(
        "is no evidence, with nothing reconstructed from the plain update" in note for note in outcome.notes
    )


def test_what_the_attack_makes_of_another_sites_update_is_known_without_it(train, tmp_path):
    """A picture of the second site that is the answer to every update comes from none of them."""
    rows = np.random.default_rng(derive_seed(1, "victims")).permutation(len(train))
    first, second = train.batch(rows[:2])[0]
    tries = iter([first, *[noisy(second)] * 7])

    def attack(*_given, **_words):
        return InversionResult(next(tries), 0, 0.0, "matching")

    body = run_leak(xray_cnn().eval(), train, attack=attack, seed=1, folder=tmp_path, show=False).result
    plain, summed, private = body.reconstructions
    assert plain.leaks
    assert summed.psnr_by_site[1] == body.baseline_psnr_by_site[1] > 30
    assert [summed.leaks, private.leaks] == [False, False]


def answering(train, tmp_path, answers):
    """The outcome where the attack gives these pictures, one a try, and how many tries it had."""
    tries = []

    def attack(_net, update, *_given, **_words):
        tries.append(update)
        return InversionResult(answers[len(tries) - 1], 0, 0.0, "matching")

    outcome = run_leak(xray_cnn().eval(), train, attack=attack, seed=1, folder=tmp_path, show=False)
    return outcome.result, tries


def test_what_the_attack_makes_of_another_update_is_known_of_the_first_site_too(train, tmp_path):
    """A picture of the first site that is the answer to every update comes from none of them."""
    rows = np.random.default_rng(derive_seed(1, "victims")).permutation(len(train))
    first = train.batch(rows[:1])[0][0]
    body, tries = answering(train, tmp_path, [noisy(first)] * 10)
    assert [one.leaks for one in body.reconstructions] == [False] * 3
    assert body.reconstructions[0].baseline_psnr == body.reconstructions[0].psnr > 30
    # the control is of an update in which the first site has no part: neither its own nor the sum's
    assert not any(torch.equal(tries[7], update) for update in tries[:7])


def test_a_protected_update_is_held_against_as_many_tries_of_the_control_as_it_had(train, tmp_path):
    """The third try of the control comes as near as the private one: the plain update leaks, it does not."""
    rows = np.random.default_rng(derive_seed(1, "victims")).permutation(len(train))
    first = train.batch(rows[:1])[0][0]
    nothing, near = torch.zeros_like(first), noisy(first, 0.03)
    answers = [first, *[nothing] * 3, nothing, nothing, near, nothing, nothing, near]
    body, tries = answering(train, tmp_path / "a", answers)
    plain, summed, private = body.reconstructions
    assert [plain.leaks, summed.leaks, private.leaks] == [True, False, False]
    assert private.psnr == private.baseline_psnr
    assert len(tries) == 10
    # where no protected update comes near, the control has the one try that the plain update had
    assert len(answering(train, tmp_path / "b", [first, *[nothing] * 7])[1]) == 8


def few(labels=(0, 1, 0, 1, 0, 1)):
    """Six pictures of noise: five sites and one that is public."""
    return from_arrays(np.random.default_rng(0).random((6, 8, 8)).astype(np.float32), list(labels))


def test_a_picture_of_one_color_is_known_without_an_update_and_few_public_pictures_are_said_to_be_no_floor(
    rebuilt,
):
    """Grey is nearer to a picture of noise than another picture of noise, or the mean of one, is."""
    outcome = rebuilt(
        lambda originals, *_: torch.full((3, *originals.shape[1:]), 0.5), data=few([1] * 6), net=certain()
    )
    summed, body = outcome.result.reconstructions[1], outcome.result
    assert (
        body.baseline_psnr_by_site[0]
        == body.constant_image.psnr
        > max(body.mean_image.psnr, body.nearest_image.psnr) + 1
    )
    assert all(
        known >= grey > known - 1
        for grey, known in zip(summed.psnr_by_site, body.baseline_psnr_by_site, strict=True)
    )
    assert not summed.leaks
    assert any("only 1 public picture to compare with" in note for note in outcome.notes)


def test_a_private_update_that_is_nearer_than_few_public_pictures_says_little(tmp_path):
    rows, data = np.random.default_rng(derive_seed(1, "victims")).permutation(6), few([1] * 6)
    first = data.batch(rows[:1])[0][0]
    tries = iter([first] * 7 + [torch.zeros_like(first)] * 3)

    def attack(*_given, **_words):
        return InversionResult(next(tries), 0, 0.0, "gradient")

    notes = run_leak(certain(), data, attack=attack, seed=1, folder=tmp_path, show=False).notes
    assert any("that says little, with so few public pictures" in note for note in notes)
    assert not any("its noise is too small" in note for note in notes)


def certain():
    """A net whose answer is class 0 with a probability of 1, so that only examples of class 1 have a
    gradient.
    """
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    ).eval()
    with torch.no_grad():
        net[3].weight.zero_()
        net[3].bias.copy_(torch.tensor([200.0, -200.0]))
    return net


@pytest.mark.parametrize("others", [0, 1], ids=["no site", "the other sites"])
def test_an_update_with_nothing_in_it_is_said_to_be_and_the_others_go_on(others, tmp_path):
    rows, labels = np.random.default_rng(derive_seed(0, "victims")).permutation(6), [others] * 6
    labels[rows[0]] = 0
    outcome = run_leak(certain(), few(labels), steps=2, folder=tmp_path, show=True)
    plain, summed, private = outcome.result.reconstructions
    assert plain.failure_reason == "nothing in it: not rebuilt"
    assert plain.psnr is plain.picture is None
    assert (summed.failure_reason == "") == (summed.psnr is not None) == bool(others)
    assert private.psnr is not None
    assert any(note == "a plain update: nothing in it: not rebuilt" for note in outcome.notes)


def test_private_pictures_are_stored_only_where_asked(rebuilt, tmp_path):
    nothing = lambda originals, *_public: torch.zeros(3, *originals.shape[1:])  # noqa: E731
    hidden = rebuilt(nothing)
    assert hidden.result.original is None
    assert [
        one.picture
        for one in (*hidden.result.reconstructions, hidden.result.mean_image, hidden.result.nearest_image)
    ] == [None] * 5
    assert list(tmp_path.rglob("*.png")) == []
    assert any("quintain leak --show-private" in note for note in hidden.notes)
    rebuilt(nothing, show=True)
    assert len(list(tmp_path.rglob("*.png"))) == 6


def test_a_net_that_came_frozen_is_attacked_all_the_same_and_stays_frozen(train, tmp_path):
    net = xray_cnn().eval().requires_grad_(False)
    body = run_leak(net, train, steps=1, folder=tmp_path, show=False).result
    assert len(body.reconstructions) == 3
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters())
    assert not net.training


def test_vectors_are_refused(tmp_path):
    data = from_arrays(np.random.default_rng(0).random((20, 9)).astype(np.float32), [0, 1] * 10)
    with pytest.raises(DataError, match="pictures"):
        run_leak(torch.nn.Linear(9, 2).eval(), data, folder=tmp_path, show=False)


@pytest.mark.parametrize(("count", "text"), [(1, "has 1 picture;"), (5, "has 5 pictures;")])
def test_too_few_pictures_are_said_to_be_too_few(train, tmp_path, count, text):
    with pytest.raises(DataError, match=f"{text} expected at least 6"):
        run_leak(mlp().eval(), train.subset(range(count)), folder=tmp_path, show=True)


def test_attacks_are_measured_against_each_defense_beside_the_reconstructions(train, tmp_path):
    outcome = run_leak(
        xray_cnn().eval(),
        train,
        steps=1,
        measured=(ImprintLayer(units=64),),
        candidates=10,
        folder=tmp_path,
        show=True,
        unfinished=tmp_path / "unfinished",
    )
    rebuilt = {one.model: one for one in outcome.result.measurements if one.measure == "pictures rebuilt"}
    assert rebuilt["a secure sum of 5"].value > 0.5
    assert rebuilt["a secure sum of 5, clipping to 1 and noise of 1"].value == 0
    assert rebuilt["a secure sum of 5, foreign layers refused"].value == 0
    assert len(outcome.result.reconstructions) == 3
    assert outcome.result.pictures
    assert any(note.startswith("imprint-layer rebuilds pictures under") for note in outcome.notes)
    assert list((tmp_path / "unfinished" / "defenses").iterdir())


def test_too_few_pictures_for_defenses_are_said_and_the_reconstructions_stay(tmp_path):
    x = np.random.default_rng(0).random((6, 8, 8)).astype(np.float32)
    same = from_arrays(np.repeat(x[:1], 6, 0), [0, 1] * 3)
    outcome = run_leak(
        mlp(2, 1, 8).eval(), same, steps=1, measured=(ImprintLayer(),), folder=tmp_path, show=False
    )
    assert outcome.result.measurements == ()
    assert any(note.startswith("defenses were not compared: 3 of 3 examples") for note in outcome.notes)


def test_the_class_of_an_attack_is_taken_for_its_function(train, tmp_path):
    """The default attack by its class, with the same settings, finds the same bit for bit."""
    one, other = (
        run_leak(mlp().eval(), train, attack=attack, steps=3, seed=1, folder=tmp_path, show=False).result
        for attack in (invert_gradient, GradientInversion)
    )
    psnrs = [[each.psnr for each in body.reconstructions[:2]] for body in (one, other)]
    assert psnrs[0] == psnrs[1]
