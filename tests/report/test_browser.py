"""The page in a real browser: it fits, says nothing wrong, and asks nobody for anything."""

from dataclasses import replace
from pathlib import Path

import pytest

from quintain.report import render
from quintain.results.records import Record, RequirementResult
from quintain.results.robustness_records import (
    AttackResult,
)
from quintain.results.verdict import Decision, Verdict
from tests.report.support.browser import Complaint, browse, measured
from tests.report.support.claims import accuracy
from tests.report.support.privacy import PLANNED, swept
from tests.report.support.sample import record

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_report_fits_and_asks_nobody(
    chromium: str, records: tuple[Record, ...], folder: Path, tmp_path: Path, theme: str
) -> None:
    flags = ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    page, widths = render(records, folder), (1200, 390)
    for width, found in zip(
        widths, measured(chromium, tmp_path, [(page, width) for width in widths], *flags), strict=True
    ):
        assert found["width"] == found["scroll"] == width
        assert found["beyond"] == found["clash"] == found["outside"] == []
        assert found["shown"] == found["pictures"] == 18
        assert found["requests"] == []
        assert found["ground"] == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 24, 26)"}[theme]
        assert found["bar"] == "solid"


FORBIDDEN = {
    "img-src": '<img src="http://quintain.invalid/a.png" alt="">',
    "script-src": "<script>1</script>",
    "style-src": '<p style="color:red">',
}


def test_the_policy_bites(chromium: str, records: tuple[Record, ...], folder: Path, tmp_path: Path) -> None:
    """Each forbidden thing, in a page of its own, brings a complaint of its own."""
    page = render(records[:1], folder)
    pages = [(page.replace("</main>", f"{wrong}</main>"), 1200) for wrong in FORBIDDEN.values()]
    with pytest.raises(Complaint, match="Content Security Policy") as caught:
        measured(chromium, tmp_path, pages, tries=1)
    told = caught.value.args[0]
    assert [
        kind
        for kind in FORBIDDEN
        if not any(kind in line and "Content Security Policy" in line for line in told)
    ] == []


def test_labels_stay_apart_in_the_hard_cases(chromium: str, folder: Path, tmp_path: Path) -> None:
    sides = [
        (0, 1),
        (0, 0),
        (623, 624),
        (624, 624),
        (455, 461),
        (310, 312),
        (1, 624),
        (300, 250),
        (0, None),
        (None, 480),
    ]
    name = (
        "Robust accuracy of the third model of the second hospital after "
        "certified_training_with_a_very_long_unbroken_name"
    )
    claims = tuple(accuracy(f"net{index}:linf:4/255", name, *pair) for index, pair in enumerate(sides))
    answer = Verdict(Decision.FAIL, "between 0 and 1")
    judged = tuple(
        RequirementResult(
            f"robust_accuracy(linf:4/255, model=net{index}) >= 0.{71 + index}", answer, claim.name
        )
        for index, claim in enumerate(claims)
    )
    page, widths = (
        render((replace(record(AttackResult(()), claims), requirements=judged),), folder),
        (1200, 390, 360),
    )
    for width, found in zip(
        widths, measured(chromium, tmp_path, [(page, width) for width in widths]), strict=True
    ):
        assert found["beyond"] == found["clash"] == found["outside"] == []
        assert found["scroll"] == width


def test_the_file_itself_opens_and_goes_to_paper(
    chromium: str, records: tuple[Record, ...], folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(records, folder), encoding="utf-8")
    ran = browse(
        chromium,
        tmp_path,
        "--enable-logging=stderr",
        "--v=0",
        "--no-pdf-header-footer",
        f"--print-to-pdf={tmp_path / 'report.pdf'}",
        path.as_uri(),
    )
    assert not [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    paper = (tmp_path / "report.pdf").read_bytes()
    assert paper.startswith(b"%PDF-")
    assert 4 <= paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") <= 30


def test_private_training_and_plans_fit_too(chromium: str, tmp_path: Path) -> None:
    pages = [
        render((record(body),), tmp_path).replace("<main>", '<main><i class="card"></i>')
        for body in (swept(), PLANNED)
    ]
    asked = [(page, width) for page in pages for width in (1200, 390)]
    for (_, width), found in zip(asked, measured(chromium, tmp_path, asked), strict=True):
        assert found["beyond"] == found["clash"] == found["outside"] == []
        assert found["scroll"] == width
