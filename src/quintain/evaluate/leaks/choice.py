"""Which attacks a model and what is known of it allow, by goal, and what is missing for the others."""

from collections.abc import Iterable, Mapping

from quintain.core.registry import Entry, by_default_rank
from quintain.evaluate.leaks.goals import MEASURES
from quintain.models.protocol import ACCESS, Access, includes_access
from quintain.results.records import NotDone

GOALS = ("membership", "identity", "pictures", "agreement", "attributes", "exposure")
"""In the order in which they are attacked."""

WANTS = {
    "attribute": "to know what is sensitive",
    "architecture": "the model's architecture",
    "public": "public examples",
    "shadows": "shadow models",
}
"""What attacks need to know, in words."""

REMEDY = "name an attack that the model and the data allow (quintain list leak --long)"
REMEDIES: Mapping[str, str] = {
    "membership": "give the training examples as the split train, others as test or by --public, and how it "
    "was trained by --train mine.py:train or --epochs",
    "identity": "where classes are people, give other pictures of them as the split test, and pictures of "
    "other people, under labels or names of their own, by --public",
    "attributes": "say what is sensitive of each example by --attribute: a number of vectors (3), its name, "
    "or a block of pixels (0:4,0:4)",
    "exposure": "give how it is trained by --train mine.py:train or --epochs",
}
"""What to change where a goal cannot be attacked."""

OTHER_EXAMPLES = (
    "give other examples, which the model was not trained on, by --public or as the splits val and test"
)
"""What to change where examples of the training are among those that an attacker knows."""


def default_leaks(
    access: Access, *, knows: Iterable[str], goals: Iterable[str] = GOALS
) -> tuple[tuple[Entry, ...], tuple[NotDone, ...]]:
    """Return an attack of each goal that the access and the knowledge allow: what uses most of it, by rank.

    One without a default rank is taken where no other can be.

    Args:
        access: What the attacker sees of the model.
        knows: What else: ``public``, ``shadows``, ``architecture``.
        goals: Those in question.

    Returns:
        The attacks, and the goals for which there is none, each with what it wants.
    """
    known, ranked = set(knows), by_default_rank("leak")
    chosen: list[Entry] = []
    missing: list[NotDone] = []
    for goal in goals:
        if goal not in MEASURES:
            continue
        listed = [one for one in ranked if one.fact("goal") == goal and one.fact("access") in ACCESS]
        fits = [
            one
            for one in listed
            if includes_access(access, one.fact("access")) and set(one.words("needs")) <= known
        ]
        if fits:
            chosen.append(
                max(fits, key=lambda one: (one.fact("default_rank") != "", len(one.words("needs"))))
            )
        elif listed:
            wants = sorted({word for one in listed for word in one.words("needs")} - known)
            lacking = (
                f"it needs {' and '.join(WANTS.get(one, one) for one in wants)}"
                if wants
                else f"it needs {listed[0].fact('access')}"
            )
            missing.append(NotDone(goal, lacking, REMEDIES.get(goal, REMEDY)))
    return tuple(chosen), tuple(missing)
