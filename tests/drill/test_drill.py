"""The pipeline over a run folder: what it leaves behind, and how it goes on."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from quintain.core.errors import ContradictionError, ExitCode, MechanismError, RunFolderError
from quintain.drill import Settings, drill, pipeline
from quintain.drill.pipeline import STEPS
from quintain.drill.step import Obstacle
from quintain.drill.steps import certify
from quintain.drill.steps.audit import COMPARISONS
from quintain.drill.trials import Trials
from quintain.evaluate import brackets, certify_workers
from quintain.report import read
from quintain.results.bounds import Consistency
from quintain.results.codec import load, save
from quintain.results.privacy_records import FederateResult, LeakResult
from quintain.results.quantity import Metric
from quintain.results.records import DrillResult, SkippedResult
from quintain.results.requirements import Requirement
from quintain.results.verdict import RunVerdict
from tests.drill.conftest import TINY, stopped


def settings(**words):
    return Settings(quick=True, **words)


def copied(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    return folder


def test_it_ends_with_a_record_a_step_and_a_page(finished):
    folder, code, page = finished
    assert code in (ExitCode.OK, ExitCode.FAILED, ExitCode.UNDECIDED)
    (decided,) = load(folder / "12-drill.json").result.requirements
    assert (decided.model, decided.claim_name) == ("certified", "certified:linf:2/255")
    assert decided.verdict.reason.startswith("model=certified: between ")
    names = [path.name for path in sorted(folder.glob("*-*.json"))]
    assert names == [f"{number:02d}-{name}.json" for number, name in enumerate((*STEPS, "drill"), 1)]
    assert page == folder / "report.html"
    assert page.read_text().startswith("<!doctype html>")
    assert not (folder / "checkpoints").exists()


def test_every_bracket_is_consistent(finished):
    claims = [claim for record in read(finished[0]) for claim in record.claims]
    assert {claim.bracket.consistency for claim in claims} == {Consistency.CONSISTENT}
    assert {claim.bracket.quantity.metric for claim in claims} == set(Metric)
    assert len({claim.name for claim in claims}) == len(claims) <= COMPARISONS


def test_each_model_is_attacked_and_proved_at_each_size(finished):
    names = {claim.name for claim in load(finished[0] / "05-certify.json").claims}
    wanted = {
        f"{model}:linf:{size}/255" for model in ("plain", "adversarial", "certified") for size in (2, 4, 8)
    }
    assert wanted | {"smoothed:l2:0.25", "smoothed:l2:0.5"} == names


def test_the_server_saw_masked_vectors_and_exact_sums(finished):
    body = load(finished[0] / "09-federate.json").result
    assert isinstance(body, FederateResult)
    assert all(one.sum_exact for one in body.rounds)
    assert [len(one.dropped) for one in body.rounds] == [0, 1]


def test_the_leak_is_shown_beside_its_baseline(finished):
    body = load(finished[0] / "08-leak.json").result
    assert isinstance(body, LeakResult)
    assert len(body.reconstructions) == 3
    assert all((finished[0] / one.picture.path).exists() for one in (*body.reconstructions, body.mean_image))


def test_a_planted_layer_leaks_without_defenses_and_not_where_sites_refuse_it(finished):
    body = load(finished[0] / "08-leak.json").result
    found = {one.model: one for one in body.measurements if one.measure == "pictures rebuilt"}
    assert found["none: a plain update"].gain > 0.5
    assert found["a secure sum of 5"].gain > 0.5
    assert found["a secure sum of 5, foreign layers refused"].value == 0
    assert found["a secure sum of 5, clipping to 1 and noise of 1"].value == 0
    assert all((finished[0] / one.reconstructed.path).exists() for one in body.pictures)


def test_faces_of_drawn_people_are_made_by_queries_of_a_plain_and_a_private_net(finished):
    record = load(finished[0] / "11-identity.json")
    body = record.result
    assert isinstance(body, LeakResult)
    assert {(one.goal, one.access, one.count) for one in body.measurements} == {("identity", "scores", 10)}
    assert {one.model.split(",")[0] for one in body.measurements} == {"plain", "private"}
    assert all(one.queries <= TINY.identity_queries for one in body.measurements)
    shown = [picture for one in body.pictures for picture in (one.original, one.reconstructed, one.baseline)]
    assert len({one.path for one in shown}) == 2 * 3 * 10
    assert all((finished[0] / one.path).exists() for one in shown)
    assert "no real person is shown" in record.notes[0]
    assert not any(claim.primary for claim in record.claims)


def test_a_finished_folder_is_not_done_again(finished, tmp_path, monkeypatch):
    folder = copied(finished, tmp_path)

    def never(_stage):
        raise AssertionError("a finished step was done again")

    never_done = {name: replace(step, run=never) for name, step in STEPS.items()}
    monkeypatch.setattr(pipeline, "STEPS", never_done)
    told = []
    drill(folder, settings(), on_step=lambda step, _record: told.append(step), clock=stopped)
    assert told == [*STEPS, "drill"]


def test_an_interrupted_drill_goes_on_at_the_unfinished_step(finished, tmp_path, monkeypatch):
    folder = copied(finished, tmp_path)
    for name in ("03-attack.json", "04-harden.json", "12-drill.json"):
        (folder / name).unlink()
    done = []
    real = dict(STEPS)

    def stopping(stage):
        done.append("harden")
        raise KeyboardInterrupt

    def counting(stage):
        done.append("attack")
        return real["attack"].run(stage)

    changed = {
        "attack": replace(real["attack"], run=counting),
        "harden": replace(real["harden"], run=stopping),
    }
    monkeypatch.setattr(pipeline, "STEPS", {**real, **changed})
    with pytest.raises(KeyboardInterrupt):
        drill(folder, settings(), clock=stopped)
    assert done == ["attack", "harden"]
    assert (folder / "03-attack.json").exists()
    again = load(folder / "03-attack.json").result
    first = load(finished[0] / "03-attack.json").result
    assert again.models[0].examples == first.models[0].examples


def test_certificates_and_attacks_of_a_step_that_was_cut_off_are_not_made_again(
    finished, tmp_path, monkeypatch
):
    folder = copied(finished, tmp_path)
    (folder / "05-certify.json").unlink()

    def stopping(*_args, **_words):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(certify, "certify_smoothed", stopping)
        with pytest.raises(KeyboardInterrupt):
            drill(folder, settings(), clock=stopped)
    assert (folder / "unfinished" / "certify" / "certified" / "certificates.json").is_file()

    def never(*_args, **_words):
        raise AssertionError("an example was certified again")

    monkeypatch.setattr(certify_workers, "search_radius", never)
    monkeypatch.setattr(Trials, "interval", 0.0)
    drill(folder, settings(), clock=stopped)
    again, first = (load(one / "05-certify.json") for one in (folder, finished[0]))
    assert [one.examples for one in again.result.models] == [one.examples for one in first.result.models]
    assert again.claims == first.claims
    assert not (folder / "unfinished").exists()


def test_requirements_are_judged_anew_on_a_finished_folder(finished, tmp_path):
    folder = copied(finished, tmp_path)
    asked = (
        "robust_accuracy(linf:8/255, model=plain) >= 0.999",
        "epsilon(delta=1e-5) <= 3.5",
        "robust_accuracy(linf:3/255) >= 0.5",
    )
    code, _ = drill(folder, settings(require=tuple(map(Requirement.parse, asked))), clock=stopped)
    record = load(folder / "12-drill.json")
    assert record.verdict == RunVerdict("FAILED", 1, "1 of 3 requirements failed")
    body = record.result
    assert isinstance(body, DrillResult)
    assert [str(one.verdict.decision) for one in body.requirements] == ["FAIL", "PASS", "UNDECIDED"]
    assert code == ExitCode.FAILED


@pytest.mark.parametrize("other", [Settings(quick=True, seed=1), Settings(quick=False)])
def test_a_folder_of_other_settings_is_refused(finished, tmp_path, other):
    with pytest.raises(RunFolderError, match="other settings"):
        drill(copied(finished, tmp_path), other)


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="holds files but no run"):
        drill(tmp_path, settings())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_half_written_record_is_named(finished, tmp_path):
    folder = copied(finished, tmp_path)
    path = folder / "05-certify.json"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunFolderError, match=re.escape("05-certify.json is no result file")):
        drill(folder, settings(), clock=stopped)


def test_damaged_settings_are_named(finished, tmp_path):
    folder = copied(finished, tmp_path)
    (folder / "run.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"run\.json cannot be read"):
        drill(folder, settings(), clock=stopped)


def test_a_changed_model_file_is_noticed(finished, tmp_path):
    folder = copied(finished, tmp_path)
    (folder / "03-attack.json").unlink()
    path = folder / "models" / "plain.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RunFolderError, match=r"plain\.safetensors is missing or changed"):
        drill(folder, settings(), clock=stopped)


def test_mutant_a_certifier_that_claims_everything_contradicts_and_is_stored_first(
    finished, tmp_path, monkeypatch
):
    folder = copied(finished, tmp_path)
    (folder / "05-certify.json").unlink()
    real = brackets.known_examples

    def boasting(proved, attacked):
        both = real(proved, attacked)
        return replace(both, certified_radius=tuple(1.0 for _ in both.certified_radius))

    monkeypatch.setattr(brackets, "known_examples", boasting)
    with pytest.raises(ContradictionError, match="both certified and broken"):
        drill(folder, settings(), clock=stopped)
    claims = load(folder / "05-certify.json").claims
    assert Consistency.CONTRADICTION in {claim.bracket.consistency for claim in claims}
    assert "contradict" in (folder / "report.html").read_text().lower()


def test_what_attacks_say_is_claimed_where_there_was_no_time_to_certify(finished, tmp_path, monkeypatch):
    folder = copied(finished, tmp_path)
    (folder / "05-certify.json").unlink()
    missing = replace(STEPS["certify"], obstacle=lambda _context: Obstacle("no time", "give more"))
    monkeypatch.setattr(pipeline, "STEPS", {**STEPS, "certify": missing})
    drill(folder, settings(), clock=stopped)
    record = load(folder / "05-certify.json")
    assert isinstance(record.result, SkippedResult)
    attacked = {
        f"{model}:linf:{size}/255" for model in ("plain", "adversarial", "certified") for size in (2, 4, 8)
    }
    assert {claim.name for claim in record.claims} == attacked
    assert {claim.model for claim in record.claims if claim.primary} == {"certified"}
    assert all(claim.bracket.lower.value == 0 for claim in record.claims)


def test_mutant_a_failed_specification_is_an_alarm(finished, tmp_path):
    folder = copied(finished, tmp_path)
    path = folder / "07-audit.json"
    record = load(path)
    failed = replace(record.result.mechanism_tests[0], passed=False)
    save(replace(record, result=replace(record.result, mechanism_tests=(failed,))), path)
    with pytest.raises(MechanismError, match="void"):
        drill(folder, settings(), clock=stopped)


def test_the_seed_is_in_the_record_and_secrets_are_not(finished):
    record = load(finished[0] / "06-privatize.json")
    assert record.provenance.seed == 0
    assert record.provenance.reproducible is False
    assert json.loads((finished[0] / "run.json").read_text()) == {
        "quintain": "0.1.0",
        "seed": 0,
        "quick": True,
    }
