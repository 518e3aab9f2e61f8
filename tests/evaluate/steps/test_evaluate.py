"""Both bounds of a model in one run: what is certified is not attacked, and what is broken not certified."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quintain.certify import IntervalBounds
from quintain.core.errors import ContradictionError, ModelError, SettingError
from quintain.evaluate.estimated_gradients import NOISE_PAIRS
from quintain.evaluate.evasion.defaults import attacks_on
from quintain.evaluate.step import raise_if_unsound, record_step
from quintain.evaluate.steps import evaluate
from quintain.evaluate.steps.attack import run_attack
from quintain.evaluate.steps.certify import run_certify
from quintain.evaluate.steps.evaluate import run_evaluate
from quintain.models.blackbox import BlackBox
from quintain.results.bounds import Consistency
from quintain.results.quantity import Basis
from quintain.threats import L2, parse
from tests.evaluate.support import halfspace
from tests.evaluate.support.attacked import ATTACKS, SIZES, counted, points, subject

DATA = points()


def evaluated(tmp_path, **words):
    settings = {
        "threats": SIZES,
        "attacks": ATTACKS,
        "seed": 3,
        "folder": tmp_path,
        "num_pictures": 0,
        **words,
    }
    return run_evaluate(settings.pop("subject", subject()), DATA, **settings)


def test_certified_examples_are_not_attacked_and_both_bounds_are_those_of_each_verb_alone(tmp_path):
    calls = []
    both = evaluated(tmp_path / "both", attacks=counted(calls))
    attacked = run_attack(subject(), DATA, SIZES, ATTACKS, seed=3, folder=tmp_path / "attack", num_pictures=0)
    certified = run_certify(subject(), DATA, SIZES, "interval", seed=3)
    for claim, above, below in zip(both.claims, attacked.claims, certified.claims, strict=True):
        assert claim.name == above.name
        assert claim.bracket.quantity == above.bracket.quantity
        assert claim.upper_counts == above.upper_counts
        assert claim.lower_counts == below.lower_counts
    radii = np.array(both.result.certified.examples.certified_radius)
    assert calls
    for _, spec, rows in calls:
        assert (radii[rows] < parse(spec).eps).all()
    least = sum(both.result.attacked.break_log.forwards)
    most = sum(attacked.result.models[0].break_log.forwards)
    assert least < most
    assert both.notes == ()


def test_the_sides_are_a_proof_and_a_witness_and_never_meet_in_one_example(tmp_path):
    output = evaluated(tmp_path)
    examples = output.result.certified.examples
    for claim, threat in zip(output.claims[1:], SIZES, strict=True):
        assert claim.primary
        assert (claim.bracket.lower.basis, claim.bracket.upper.basis) == (Basis.PROOF, Basis.WITNESS)
        assert 0 < claim.bracket.lower.value <= claim.bracket.upper.value < 1
        assert claim.bracket.consistency is Consistency.CONSISTENT
        assert not examples.contradictory_ids(threat.eps)


def black_box(inner):
    """A model of which only the scores are seen."""

    def scores(x):
        with torch.no_grad():
            return inner.model(torch.from_numpy(x)).numpy()

    return replace(inner, model=BlackBox(scores, num_classes=2, name="box"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            {"subject": black_box(subject()), "max_queries": 200},
            "Nothing is certified, since interval refuses this model: interval bounds read the layers of a "
            "Classifier; got a BlackBox, whose layers are not seen",
        ),
        (
            {"threats": [L2(2.5)]},
            "Nothing is certified, since interval certifies none of 60 examples at l2:2.5; --certifier "
            "interval tries all the same. --certifier smoothing certifies a model that it makes of this one.",
        ),
        (
            {"threats": [parse("l0:1")]},
            "Nothing is certified: no certifier handles l0 (interval: linf, l2; smoothing: l2; "
            "crown: linf, l2; crown-ibp: linf, l2; ablation: patch, mask; branch-and-bound: linf, l2; "
            "lipschitz: l2; uniform-smoothing: l1; laplace-smoothing: l1).",
        ),
    ],
)
def test_where_nothing_can_be_certified_everything_is_attacked_and_the_reason_is_said(
    tmp_path, words, reason
):
    one, threats = words.get("subject", subject()), words.get("threats", SIZES)
    output = evaluated(tmp_path, attacks=attacks_on(one.model, threats[0], {}), **words)
    assert reason in output.notes[0]
    assert output.notes[0].count("--certifier smoothing") <= 1
    assert output.result.certified is None
    assert output.claims[-1].bracket.lower.basis is Basis.TRIVIAL
    assert output.claims[-1].bracket.upper.basis is Basis.WITNESS


def test_a_certifier_that_proves_nothing_on_a_few_examples_is_not_run_on_all_unless_it_is_named(tmp_path):
    tried = []

    class Loose:
        """Interval bounds that prove nothing above a size."""

        def __call__(self, model, x, y, threat, *, eps=None):
            tried.append(len(x))
            found = IntervalBounds()(model, x, y, threat, eps=eps)
            return replace(found, certified=torch.zeros_like(found.certified))

    reason = evaluate._reason_against(Loose(), "loose", subject(), DATA, SIZES[0])
    assert (
        reason
        == f"loose certifies none of {len(DATA)} examples at linf:0.02; --certifier loose tries all the same"
    )
    assert tried == [1, len(DATA)]
    assert evaluate._reason_against(IntervalBounds(), "interval", subject(), DATA, SIZES[0]) == ""
    wide = [parse("linf:0.9")]
    output = evaluated(tmp_path, threats=wide)
    assert "interval certifies none of 60 examples at linf:0.9; --certifier interval" in output.notes[0]
    assert output.result.certified is None
    named = evaluated(tmp_path / "named", threats=wide, certifier="interval")
    assert named.result.certified is not None
    assert named.claims[-1].bracket.lower.basis is Basis.PROOF


def test_a_certifier_that_was_named_is_not_left_out_in_silence(tmp_path):
    with pytest.raises(ModelError, match="whose layers are not seen"):
        evaluated(tmp_path, subject=black_box(subject()), attacks={}, certifier="interval")
    with pytest.raises(SettingError, match="smoothing certifies l2"):
        evaluated(tmp_path, certifier="smoothing")


@pytest.mark.parametrize(("gives", "cost"), [("gradients", 20), ("scores", 20 * 2 * NOISE_PAIRS)])
def test_the_smoothed_model_is_attacked_only_where_it_is_not_certified(tmp_path, gives, cost):
    data = halfspace.points(40)
    base = halfspace.halfspace()
    if gives == "scores":
        base = black_box(base)
    words = {"sigma": 0.1, "noise_samples": 2000, "seed": 1}
    threats = [L2(0.05), L2(0.1)]
    output = run_evaluate(base, data, threats, {}, certifier="smoothing", folder=tmp_path, **words)
    whole = run_certify(base, data, threats, "smoothing", **words)
    assert [one.lower_counts for one in output.claims] == [one.lower_counts for one in whole.claims]
    assert [one.upper_counts for one in output.claims] == [one.upper_counts for one in whole.claims]
    assert output.claims[-1].bracket.lower.basis is Basis.STATISTICAL
    examples = output.result.certified.examples
    for row, threat in zip(output.result.attacked.rows, threats, strict=True):
        least = sum(radius < threat.eps for radius in examples.certified_radius)
        assert row.forwards <= cost * least / len(data)


def test_a_wrong_certificate_is_a_contradiction_that_is_in_the_record_with_its_examples(
    tmp_path, monkeypatch
):
    honest = evaluate.certify_examples

    def boasting(*args, **words):
        found = honest(*args, **words)
        radii = tuple(max(radius, 0.09) for radius in found.examples.certified_radius)
        return replace(found, examples=replace(found.examples, certified_radius=radii))

    monkeypatch.setattr(evaluate, "certify_examples", boasting)
    record = record_step(lambda: evaluated(tmp_path), command="test", seed=0, data=(DATA.name, DATA.hash))
    claim = record.claims[-1]
    assert claim.bracket.consistency is Consistency.CONTRADICTION
    crossed = record.result.certified.examples.contradictory_ids(SIZES[-1].eps)
    assert len(crossed) == claim.bracket.num_contradictory > 0
    with pytest.raises(ContradictionError, match="both certified and broken"):
        raise_if_unsound(record)


def test_the_cheapest_certifier_certifies_the_model_itself():
    assert evaluate.cheapest_certifier([L2(0.1)]).name == IntervalBounds.name
    assert evaluate.cheapest_certifier([L2(0.1)], derived=True).name == "smoothing"
    assert evaluate.cheapest_certifier(SIZES, derived=True) is None
    assert evaluate.cheapest_certifier([parse("l0:3")]) is None
