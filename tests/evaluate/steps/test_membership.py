"""A plain and a private training beside each other: who was trained on, and what epsilon allows."""

import math

import numpy as np
import pytest
from torch import nn

from quintain.core.files import sha256
from quintain.core.seeds import derive_seed
from quintain.data import from_arrays
from quintain.evaluate.privacy_target import PrivacyTarget, ProtectedRecords
from quintain.evaluate.steps.membership import run_membership
from quintain.models import initialize
from quintain.results.quantity import Basis
from quintain.training import Recipe


def build(seed):
    return initialize(nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 2)), seed)


def noise():
    rng = np.random.default_rng(0)
    return from_arrays(rng.random((150, 6, 6)).astype(np.float32), rng.integers(0, 2, 150), name="noise")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Noise with random labels, which a net can only know by heart, attacked in both trainings."""
    kept = tmp_path_factory.mktemp("unfinished")

    def run():
        return run_membership(
            noise(),
            build=build,
            recipe=Recipe(epochs=100, batch_size=16, learning_rate=5e-3),
            private=PrivacyTarget(epsilon=1.0, batch_size=30, steps=5),
            candidates=140,
            shadows=4,
            unfinished=kept,
        )

    return run(), run(), kept


def by_model(output, measure):
    return {
        (one.model, one.candidates): one.value for one in output.result.measurements if one.measure == measure
    }


def test_the_plain_training_gives_away_who_took_part_and_the_private_one_less(found):
    areas = by_model(found[0], "AUC")
    assert {candidates for _, candidates in areas} == {"natural", "mislabeled canaries"}
    plain, private = (
        areas[title, "natural"] for title in ("plain, 70 examples", "private, epsilon 1, 70 examples")
    )
    assert plain > 0.8
    assert private < plain - 0.1


def test_only_the_private_training_is_bounded_from_above_and_no_claim_is_primary(found):
    claims = found[0].claims
    assert {claim.model for claim in claims} == {"plain-70-examples", "private-epsilon-1-70-examples"}
    assert not any(claim.primary for claim in claims)
    for claim in claims:
        private = claim.model.startswith("private")
        assert (claim.bracket.upper.basis is Basis.PROOF) == private
        assert math.isclose(claim.bracket.upper.value, 1.0) != private
        assert claim.bracket.lower.value <= claim.bracket.upper.value


def test_trained_nets_are_kept_so_that_a_killed_run_goes_on(found):
    first, again, kept = found
    assert len(list(kept.rglob("*.safetensors"))) == 2 * 5
    assert by_model(first, "AUC") == by_model(again, "AUC")


def test_the_examples_are_named_under_a_secret_that_is_kept_beside_the_nets(found):
    first, again, kept = found
    names = {claim.bracket.quantity.data_hash for claim in first.claims}
    assert names == {claim.bracket.quantity.data_hash for claim in again.claims}
    salt = (kept / "salt").read_bytes()
    rows = np.random.default_rng(derive_seed(0, "membership", "drawn")).permutation(150)[:140]
    pool = noise().subset(np.sort(rows))
    keyed = ProtectedRecords.from_dataset(pool, salt).keyed_hash
    kinds = ("natural", "mislabeled canaries")
    assert names == {sha256(f"{keyed} {kind}".encode()) for kind in kinds}
    assert not names & {sha256(f"{pool.hash} {kind}".encode()) for kind in kinds}
