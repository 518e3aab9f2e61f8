"""The page: whole, silent towards the network, honest about what is missing."""

import base64
import hashlib
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import RunFolderError
from quintain.report import format as fmt
from quintain.report import read, render, write
from quintain.report.page import REPORT_FILE
from quintain.results import codec
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import CountEvidence
from quintain.results.literals import CLEAN_ERRORS_ONLY
from quintain.results.privacy_records import (
    AuditResult,
    FederateResult,
    LeakResult,
    PrivatizeResult,
    Reconstruction,
)
from quintain.results.quantity import Basis, Side
from quintain.results.records import Claim, DrillResult, NamedHash, Record
from quintain.results.robustness_records import (
    AttackResult,
    CertifyResult,
    CheckResult,
    HardenResult,
    TrainResult,
)

from .reading import Page
from .sample import accuracy, clean, leaked, record


@pytest.fixture(scope="session")
def html(records: tuple[Record, ...], folder: Path) -> str:
    return render(records, folder)


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)


def body_of(records: tuple[Record, ...], kind: type) -> Record:
    return next(one for one in records if isinstance(one.result, kind))


def test_it_is_one_document_without_script_link_or_inline_style(page: Page) -> None:
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    assert not [
        name
        for name, attributes in page.tags
        if "style" in attributes or any(key.startswith("on") for key in attributes)
    ]
    assert [len(page.all(tag)) for tag in ("html", "head", "body", "title", "h1", "main")] == [1] * 6
    anchors = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(anchors)) == len(anchors)
    assert {link["href"] for link in page.all("a")} <= {f"#{anchor}" for anchor in anchors}


def test_nothing_in_it_can_be_requested(html: str, page: Page) -> None:
    assert not re.search(r"https?:|//[a-z]|url\(|@import|file:", re.sub(r"base64,[\w+/=]+", "", html))
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))


def test_the_policy_allows_this_style_and_data_pictures_alone(html: str, page: Page) -> None:
    policy = next(
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_every_section_is_there_and_linked(page: Page) -> None:
    anchors = [attributes["id"] for attributes in page.all("section") if "id" in attributes]
    assert anchors == [
        "training",
        "attack",
        "certificates",
        "privacy",
        "leaks",
        "federation",
        "trust",
        "record",
    ]
    assert [link["href"] for link in page.all("a")] == [f"#{anchor}" for anchor in anchors]


def test_every_claim_shows_both_sides_and_its_interval(records: tuple[Record, ...], page: Page) -> None:
    claims = [claim for one in records for claim in one.claims]
    assert len(claims) > 15
    for claim in claims:
        kind = claim.bracket.quantity.metric
        assert claim.title in page.text
        assert fmt.metric_value(kind, claim.bracket.lower.value) in page.text
        assert fmt.metric_value(kind, claim.bracket.upper.value) in page.text
        assert fmt.interval(kind, *claim.bracket.confidence_interval()) in page.text


def test_the_prototype_figures_stand_where_they_belong(page: Page) -> None:
    for words in (
        "1 undecided 2 passed bounds consistent",
        "Certified 455 by interval bounds, undecided 6 (1.0 %), misclassified or broken 163 of 624.",
        "Both bounds are above the majority class.",
        "Not above the majority class.",
        "certified training 83.5 % 73.9 % 72.9 % ∞ (no DP)",
        "majority class 62.5 % 62.5 % 62.5 % 0",
        "private model 83.0 % – – 3.00",
        "An audit of this size can detect at most 5.10 with 95 % confidence.",
        "from a plain update, 33.1 dB",
        "what the server saw, round 3",
        "masked vectors 4 of 5",
        "624 examples tested",
        "seed 7",
        "24 Nov 2026, 13:04 UTC",
        "Quintain 0.1.0",
        "quintain drill --seed 7 --out runs/2026-11-24",
        "float32 rounding is small",
        "20 training rows repeat another one",
    ):
        assert words in page.text


def test_drawings_and_pictures_speak(page: Page) -> None:
    drawings = page.all("svg")
    assert len(drawings) > 20
    assert all(drawing["role"] == "img" and len(drawing["aria-label"]) > 6 for drawing in drawings)
    assert len(page.all("img")) == 12 + 6
    assert all(image["alt"] for image in page.all("img"))
    assert any(
        drawing["aria-label"].startswith(
            "certified 72.9 %, attacked 73.9 %, 95 %: 69.2 .. 77.3 %, required ≥ 65.0 %"
        )
        for drawing in drawings
    )


@pytest.mark.parametrize("number", range(10))
def test_each_record_alone_makes_a_page(records: tuple[Record, ...], folder: Path, number: int) -> None:
    alone = Page(render(records[number : number + 1], folder))
    assert alone.text.count("Provenance") >= 1
    assert "no requirements given" in alone.text or isinstance(records[number].result, DrillResult)
    assert "None" not in alone.text
    assert "Undefined" not in alone.text


@pytest.mark.parametrize("number", range(10))
def test_any_record_may_be_missing(records: tuple[Record, ...], folder: Path, number: int) -> None:
    rest = Page(render(records[:number] + records[number + 1 :], folder))
    assert rest.text.startswith("Drill on xrays.test")
    assert ("unfinished" in rest.text) == (number == 9)
    assert "None" not in rest.text


def test_bare_bodies_make_a_page(records: tuple[Record, ...], folder: Path) -> None:
    attacked = body_of(records, AttackResult).result
    certified = body_of(records, CertifyResult).result
    federated = body_of(records, FederateResult).result
    assert isinstance(attacked, AttackResult)
    assert isinstance(certified, CertifyResult)
    assert isinstance(federated, FederateResult)
    bare = (
        AttackResult((replace(attacked.models[0], rows=()),)),
        AttackResult(()),
        CertifyResult((replace(certified.models[0], curve_eps=(), requested_eps=(), certifier=""),)),
        replace(federated, rounds=(), sites=()),
        replace(federated, rounds=federated.rounds[:1], sites=()),
        DrillResult((), (), 0, True),
    )
    for body in bare:
        assert "Provenance" in Page(render((record(body),), folder)).text


def test_a_round_without_a_sum_is_told_and_is_no_wrong_sum(records: tuple[Record, ...], folder: Path) -> None:
    federated = body_of(records, FederateResult).result
    assert isinstance(federated, FederateResult)
    first, second, *_ = federated.rounds
    abandoned = replace(second, survivors=(), dropped=(*second.survivors, *second.dropped), sum_exact=False)
    text = Page(render((record(replace(federated, rounds=(first, abandoned))),), folder)).text
    assert (
        "The secure sum equals the plain one exactly in 1 of 1 round. 1 round came to no sum and left the "
        "model as it was." in text
    )
    assert "no sum" in text
    assert not re.search(r"\bNO\b", text)
    wrong = Page(
        render((record(replace(federated, rounds=(replace(first, sum_exact=False),))),), folder)
    ).text
    assert "exactly in 0 of 1 round." in wrong
    assert re.search(r"\bNO\b", wrong)


def test_many_classes_and_errors_are_shown(folder: Path) -> None:
    tally = ClassCounts((9, 8, 7), (10, 10, 10))
    claim = accuracy(
        "net:linf:2/255",
        "Robust accuracy, net",
        20,
        24,
        trials=30,
        token="linf:2/255",
        upper_counts=tally,
        lower_counts=tally,
    )
    claim = replace(claim, bracket=replace(claim.bracket, num_invalid=2))
    text = Page(render((record(AttackResult(()), (claim,)),), folder)).text
    assert "Balanced over 3 classes: 80.0 %." in text
    assert "2 examples with an invalid output (NaN)" in text


def test_what_people_wrote_is_escaped(records: tuple[Record, ...], folder: Path) -> None:
    attack = "<script>alert(1)</script>"
    quote = 'x" onload="alert(2)'
    leak = body_of(records, LeakResult)
    assert isinstance(leak.result, LeakResult)
    trained = body_of(records, TrainResult)
    assert isinstance(trained.result, TrainResult)
    model = replace(trained.result.training.model, title=attack)
    hostile = (
        replace(trained, result=TrainResult(replace(trained.result.training, model=model, settings=quote))),
        replace(
            leak,
            result=replace(leak.result, original=replace(leak.result.original, caption=attack)),
            notes=(attack, quote),
        ),
        replace(
            body_of(records, CertifyResult),
            claims=tuple(
                replace(one, title=attack, model=quote) for one in body_of(records, CertifyResult).claims[:1]
            ),
            provenance=replace(leak.provenance, command=attack, data=NamedHash(attack, quote)),
        ),
    )
    html = render(hostile, folder)
    assert "<script" not in html
    assert attack in Page(html).text
    assert not [name for name, attributes in Page(html).tags if "onload" in attributes]


def test_a_contradiction_is_loud_and_comes_first(records: tuple[Record, ...], folder: Path) -> None:
    wrong = accuracy("certified:linf:4/255", "Robust accuracy, certified training", 480, 461)
    page = Page(render((record(AttackResult(()), (wrong,)), *records[-1:]), folder))
    alarm = [attributes for _, attributes in page.tags if attributes.get("role") == "alert"]
    assert len(alarm) == 1
    assert "1 claim contradicts itself: some code is wrong" in page.text
    assert page.text.index("contradicts itself") < page.text.index("passed")
    assert "bounds consistent" not in page.text
    assert "both certified and broken 19" in page.text
    assert any("clash" in attributes.get("class", "") for _, attributes in page.tags)


def test_a_specification_failure_is_as_loud(records: tuple[Record, ...], folder: Path) -> None:
    audit = body_of(records, AuditResult)
    assert isinstance(audit.result, AuditResult)
    halved = replace(audit.result.mechanism_tests[0], measured=0.56, p_value=1e-30, passed=False)
    page = Page(render((replace(audit, result=replace(audit.result, mechanism_tests=(halved,))),), folder))
    assert len([attributes for _, attributes in page.tags if attributes.get("role") == "alert"]) == 1
    assert "no epsilon on this page can be relied on" in page.text
    assert "bounds consistent" not in page.text
    assert "MECHANISM MISMATCH" in page.text


def test_an_overwritten_contradiction_is_still_told(folder: Path) -> None:
    wrong = accuracy("certified:linf:4/255", "Robust accuracy", 480, 461)
    right = accuracy("certified:linf:4/255", "Robust accuracy", 455, 461)
    page = Page(render((record(AttackResult(()), (wrong,)), record(AttackResult(()), (right,))), folder))
    assert "1 claim contradicts itself" in page.text


def test_a_suspect_claim_asks_for_a_rerun(folder: Path) -> None:
    claim = accuracy("smoothed:l2:0.5", "Robust accuracy", 50, 49, trials=100, token="l2:0.5")
    lower = replace(claim.bracket.lower, basis=Basis.STATISTICAL, evidence=CountEvidence(50, 100, 0.001))
    page = Page(
        render(
            (record(AttackResult(()), (replace(claim, bracket=replace(claim.bracket, lower=lower)),)),),
            folder,
        )
    )
    assert "1 bracket crosses within statistical error: rerun with another seed" in page.text
    assert "SUSPECT" in page.text


def test_a_missing_changed_or_foreign_picture_is_named(records: tuple[Record, ...], tmp_path: Path) -> None:
    body = leaked(tmp_path)
    (tmp_path / body.original.path).unlink()
    first, second, third = (attempt.picture for attempt in body.reconstructions)
    (tmp_path / first.path).write_bytes((tmp_path / second.path).read_bytes())
    (tmp_path / third.path).write_bytes(b"<svg/>")
    outside = tmp_path.parent / "outside.png"
    outside.write_bytes((tmp_path / second.path).read_bytes())
    attempts = (
        body.reconstructions[0],
        replace(body.reconstructions[1], picture=replace(second, path="../outside.png")),
        replace(
            body.reconstructions[2], picture=replace(third, sha256=hashlib.sha256(b"<svg/>").hexdigest())
        ),
    )
    page = Page(render((record(replace(body, reconstructions=attempts)),), tmp_path))
    for problem in ("picture missing", "picture changed", "outside the run folder", "not a PNG"):
        assert problem in page.text
    assert len(page.all("img")) == 2
    assert "from a plain update, 33.1 dB" in page.text


def test_infinity_is_told_in_words(records: tuple[Record, ...], folder: Path) -> None:
    private = body_of(records, PrivatizeResult)
    claim = next(claim for one in records for claim in one.claims if claim.name == "private:epsilon audited")
    open_claim = replace(
        claim, bracket=Bracket(claim.bracket.lower, Bound.trivial(claim.bracket.quantity, Side.UPPER))
    )
    assert isinstance(private.result, PrivatizeResult)
    endless = replace(
        private.result, plan=replace(private.result.plan, epsilon=math.inf, noise_multiplier=0.0)
    )
    text = Page(render((replace(private, result=endless, claims=(open_claim,)),), folder)).text
    assert "no upper bound" in text
    assert "0.93 .. ∞" in text
    assert "epsilon, accounted ∞" in text
    assert "nan" not in text.lower().split()
    assert "inf" not in text.lower().split()


def test_a_folder_is_read_whole_and_in_order(folder: Path, records: tuple[Record, ...]) -> None:
    assert [one.result.kind for one in records] == [
        path.stem[3:] for path in sorted(folder.glob("[0-9]*.json"))
    ]
    path = write(folder)
    assert path == folder / REPORT_FILE
    assert path.read_text(encoding="utf-8") == render(records, folder)
    assert not list(folder.glob(".report*"))


def test_a_result_of_one_verb_is_enough(tmp_path: Path) -> None:
    codec.save(
        record(AttackResult(()), (accuracy("net:linf:4/255", "Robust accuracy, net", None, 372),)),
        tmp_path / "result.json",
    )
    text = Page(write(tmp_path).read_text(encoding="utf-8")).text
    assert text.startswith("Attack on xrays.test")
    assert "not certified" in text


def test_a_damaged_record_is_never_skipped(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "03-attack.json").write_bytes((folder / "03-attack.json").read_bytes()[:5000])
    with pytest.raises(RunFolderError, match="03-attack"):
        write(copy)


@pytest.mark.parametrize("make", [True, False])
def test_nothing_to_report_is_an_error(tmp_path: Path, make: bool) -> None:
    place = tmp_path / "empty"
    if make:
        place.mkdir()
        (place / "run.json").write_text("{}")
    with pytest.raises(RunFolderError, match="empty"):
        read(place)
    with pytest.raises(RunFolderError, match="no result"):
        render((), place)


def test_a_claim_of_clean_accuracy_comes_alone_only(records: tuple[Record, ...], folder: Path) -> None:
    tally = ClassCounts((161, 360), (234, 390))
    lone: Claim = clean("certified", tally)
    assert "correct 83.5 %" in Page(render((record(AttackResult(()), (lone,)),), folder)).text
    heads = [attributes for name, attributes in Page(render(records, folder)).tags if name == "article"]
    assert len(heads) == 5


def test_a_check_alone_speaks_of_data_and_of_no_claim(records: tuple[Record, ...], folder: Path) -> None:
    text = Page(render((body_of(records, CheckResult),), folder)).text
    assert "How many examples there are of each class" in text
    for word in ("Training", "no two claims contradict", "no two sides cross"):
        assert word not in text


def test_what_a_hardening_alone_proves_is_in_its_curve(records: tuple[Record, ...], folder: Path) -> None:
    body = next(one.result for one in records if isinstance(one.result, HardenResult))
    model = body.models[0].model
    proofs = tuple(
        claim
        for one in records
        for claim in one.claims
        if claim.model == model
        and claim.bracket.quantity.threat.startswith("linf")
        and claim.bracket.lower.basis is Basis.PROOF
    )
    assert proofs
    alone = replace(body, models=body.models[:1])
    shown = render((record(alone, proofs),), folder)
    for claim in proofs:
        assert f"{fmt.percent(claim.bracket.lower.value)} certified" in shown
    assert 'class="line-proved"' in shown
    assert 'class="line-proved"' not in render((record(alone, ()),), folder)


def test_an_upper_side_that_no_attack_gave_is_called_unchanged(folder: Path) -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 100, 500)
    upper = replace(claim.bracket.upper, method=CLEAN_ERRORS_ONLY)
    text = Page(
        render(
            (record(AttackResult(()), (replace(claim, bracket=Bracket(claim.bracket.lower, upper)),)),),
            folder,
        )
    ).text
    assert "clean 80.1 % (not attacked)" in text
    assert "attacked 80.1 %" not in text


def test_a_reconstruction_that_fails_is_no_proof(records: tuple[Record, ...], folder: Path) -> None:
    one = body_of(records, LeakResult)
    assert isinstance(one.result, LeakResult)
    blind = replace(
        one,
        result=replace(
            one.result,
            reconstructions=tuple(replace(each, leaks=False) for each in one.result.reconstructions),
        ),
    )
    assert "does not prove that there is none" in Page(render((blind,), folder)).text


def test_private_pictures_are_numbers_alone(records: tuple[Record, ...], folder: Path) -> None:
    one = body_of(records, LeakResult)
    assert isinstance(one.result, LeakResult)
    assert one.result.nearest_image is not None

    def hidden(each: Reconstruction) -> Reconstruction:
        return replace(each, picture=None)

    body = replace(
        one.result,
        original=None,
        reconstructions=tuple(map(hidden, one.result.reconstructions)),
        mean_image=hidden(one.result.mean_image),
        nearest_image=hidden(one.result.nearest_image),
    )
    html = render((replace(one, result=body),), folder)
    assert "data:image/png" not in html
    text = Page(html).text
    assert "14.2 dB" in text
    assert "22.0 dB" in text


def test_the_report_never_loads_torch() -> None:
    code = (
        "import sys, quintain.report; from quintain.report import ClaimChange, compare, render, write, "
        "key_rows; sys.exit(any(name == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_words_keep_their_contrast() -> None:
    style = (
        Path(sys.modules["quintain.report.page"].__file__ or "")
        .parent.joinpath("templates", "style.css")
        .read_text(encoding="utf-8")
    )
    themes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(themes) == 3
    for theme in themes:
        for ink in ("ink", "soft", "proved-ink", "broken-ink", "open-ink"):
            for ground in ("bg", "card"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground, theme)
        for ground in ("proved-ink", "broken-ink", "open-ink"):
            assert contrast(theme["on"], theme[ground]) >= 4.5, (ground, theme)
        for area in ("proved", "broken", "plain"):
            assert contrast(theme[area], theme["card"]) >= 3, (area, theme)


def contrast(one: str, other: str) -> float:
    """WCAG 2.1 contrast ratio."""

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((light(one), light(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
