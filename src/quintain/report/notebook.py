"""What a notebook shows of a record, a claim or a bracket: its bar and what there is to know of it."""

from collections.abc import Sequence

from markupsafe import Markup

from quintain.report import claim_rows
from quintain.report.claim_cards import ClaimCard, card, claim_bar
from quintain.report.overview import RequirementLine, overview
from quintain.report.run_results import RunResults
from quintain.report.templating import environment, style
from quintain.results.bounds import Bracket
from quintain.results.records import Claim, Record


def record_html(record: Record) -> str:
    """Return the title of a record, its requirements, and a bar for each key claim."""
    top = overview(RunResults.of((record,)))
    return _render(top.cards, top.title, top.requirements)


def claim_html(claim: Claim) -> str:
    """Return a claim with its bar."""
    return _render((card(RunResults(()), claim),))


def bracket_html(bracket: Bracket) -> str:
    """Return a bracket's bar, under its quantity."""
    about = claim_rows.versus_majority(bracket)
    only_card = ClaimCard(bracket.quantity.text, "", about, primary=False, bar=claim_bar(bracket), lines=())
    return _render((only_card,))


def _render(cards: Sequence[ClaimCard], title: str = "", requirements: Sequence[RequirementLine] = ()) -> str:
    return (
        environment()
        .get_template("notebook.html")
        .render(style=Markup(style("notebook.css")), title=title, requirements=requirements, cards=cards)
    )
