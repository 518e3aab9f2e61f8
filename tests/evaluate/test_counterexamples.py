"""Inputs that a certifier finds to break an example: counted, saved, and kept by a run that is cut off."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quintain.attacks import FGSM
from quintain.certify import BranchAndBound, IntervalBounds
from quintain.evaluate.certificate_chunks import CertificateStore
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.open_examples import COUNTEREXAMPLES, certify_open
from quintain.evaluate.pacing import Pace
from quintain.evaluate.steps.certify import run_certify
from quintain.evaluate.steps.evaluate import run_evaluate
from quintain.results.quantity import Basis
from quintain.threats.threat import contains
from tests.evaluate.support.trained_net import SIZES, points

DATA = points(16)


def saved(folder):
    """Rows and inputs of the file in a run folder."""
    with np.load(folder / COUNTEREXAMPLES / "tiny.npz") as held:
        return held["rows"], held["inputs"]


def searched(subject, folder, unfinished=None):
    return run_certify(subject, DATA, SIZES, "branch-and-bound", folder=folder, unfinished=unfinished)


@pytest.fixture(scope="module")
def whole(subject, tmp_path_factory):
    """A run without an interruption, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return searched(subject, folder), folder


def test_what_branch_and_bound_breaks_is_the_upper_bound_and_is_saved(subject, whole):
    output, folder = whole
    clean, *claims = output.claims
    (both,) = output.result.models
    rows, inputs = saved(folder)
    x, y = DATA.batch(rows)
    assert claims[-1].bracket.upper.value < clean.bracket.upper.value
    z = torch.from_numpy(inputs)
    assert (subject.model.predict(z) != y).all()
    broken = torch.tensor(both.examples.broken_radius)
    for threat, claim in zip(SIZES, claims, strict=True):
        allowed = contains(threat, z, x)
        assert torch.equal(allowed, broken[rows] <= threat.eps)
        assert claim.bracket.upper.basis is Basis.WITNESS
        assert claim.bracket.upper.method == claim.bracket.lower.method == "branch and bound"
        assert claim.bracket.upper.value >= claim.bracket.lower.value
        lost = clean.upper_counts.num_correct - claim.upper_counts.num_correct
        assert lost == int(allowed.sum())
    assert not any(both.examples.contradictory_ids(threat.eps) for threat in SIZES)


def test_a_run_that_was_cut_off_still_has_them(subject, whole, tmp_path, monkeypatch):
    output, folder = whole
    put, left = CertificateStore.put, [2]

    def cut(self, chunk):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        put(self, chunk)

    monkeypatch.setattr(Pace, "next_size", lambda _self, count: min(6, count))
    with monkeypatch.context() as patch:
        patch.setattr(CertificateStore, "put", cut)
        with pytest.raises(KeyboardInterrupt, match="certificates of 12 of 16"):
            searched(subject, tmp_path, tmp_path / "unfinished")
    again = searched(subject, tmp_path, tmp_path / "unfinished")
    assert again.claims == output.claims
    assert again.result.models[0].examples == output.result.models[0].examples
    for one, other in zip(saved(tmp_path), saved(folder), strict=True):
        assert np.array_equal(one, other)


def test_a_chunk_without_any_is_stored_as_it_was(subject, tmp_path):
    certify_examples(subject, DATA, SIZES, IntervalBounds(), method="intervals", checkpoint_dir=tmp_path)
    for path in tmp_path.glob("certified-*.npz"):
        with np.load(path) as held:
            assert set(held) == {
                "rows", "radius", "failed", "forwards", "abstained", "assumptions", "seconds"
            }  # fmt: skip


class Misled:
    """Branch and bound whose counterexamples are replaced by others."""

    cost = "expensive"

    def __init__(self, replaced):
        self.replaced = replaced

    def __call__(self, model, x, y, threat, *, eps=None):
        found = BranchAndBound()(model, x, y, threat, eps=eps)
        points = torch.where(found.broken[:, None], self.replaced(x, found.counterexample), torch.nan)
        return replace(found, counterexample=points)


def outside(x, z):
    """The nearest numbers beyond the largest threat, in the direction of a counterexample."""
    far = x.double() + (z - x).sign() * (SIZES[-1].eps + 2.0**-20)
    return far.float()


def certify_all_open(subject, data, sizes, certifier, method):
    """What ``certify_open`` says of examples of which nothing but the predictions is known."""
    known = certify_examples(subject, data, sizes, IntervalBounds(), method="intervals").examples
    known = replace(known, certified_radius=(0.0,) * len(data))
    return certify_open(subject, data, sizes, certifier, known, method=method)[0]


@pytest.mark.parametrize("certify", [certify_examples, certify_all_open])
@pytest.mark.parametrize("replaced", [outside, lambda x, _z: x], ids=["outside", "right"])
def test_an_input_outside_the_threat_or_that_the_model_gets_right_breaks_nothing(subject, replaced, certify):
    honest, misled = (
        certify(subject, DATA, SIZES, certifier, method="search")
        for certifier in (Misled(lambda _x, z: z), Misled(replaced))
    )
    rows, inputs = zip(*honest.counterexamples, strict=True)
    x, y = DATA.batch(rows)
    others = replaced(x, torch.from_numpy(np.stack(inputs)))
    wrong, allowed = subject.model.predict(others) != y, contains(SIZES[-1], others, x)
    assert (wrong ^ allowed).all()
    assert misled.counterexamples == ()
    clean = np.array(misled.examples.predicted) == DATA.labels
    assert np.array_equal(np.isinf(misled.examples.broken_radius), clean)
    assert misled.examples.certified_radius == honest.examples.certified_radius


def test_evaluate_saves_those_of_a_named_certifier(subject, whole, tmp_path):
    output = run_evaluate(
        subject,
        DATA,
        SIZES,
        {"fgsm": FGSM()},
        certifier="branch-and-bound",
        folder=tmp_path,
        num_pictures=0,
    )
    assert output.claims[-1].bracket.upper.method == "fgsm + branch and bound"
    for one, other in zip(saved(tmp_path), saved(whole[1]), strict=True):
        assert np.array_equal(one, other)
