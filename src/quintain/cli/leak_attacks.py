"""Which attacks ``quintain leak`` runs: those that are named, or the first of each goal that can be run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from quintain.cli.leak_inputs import LeakInputs
from quintain.core.errors import SettingError
from quintain.core.registry import Entry, choose

if TYPE_CHECKING:
    from quintain.leakage.attack import LeakageAttack
    from quintain.results.records import NotDone

UNTRAINED = "the net has its first weights, which hold nothing of the data; only updates were attacked"

RETRAINED = "exposure"
"""The goal of attacks that a second model is trained for, with canaries."""

ATTRIBUTES = "attributes"
"""The goal of attacks that guess what is sensitive of an example."""

UPDATE, SUM = "update", "sum"
"""What attacks see that are on a site's update, or on a sum of many."""


def refuse_options(inputs: LeakInputs, named: Sequence[Entry]) -> None:
    """Raise SettingError for options that do not fit each other."""
    for entry in named:
        if entry.fact("goal") == RETRAINED and _retrains_without_privacy(inputs):
            raise SettingError(f"{entry.name} {_retraining_refusal(inputs)}")
        if entry.fact("access") == SUM and entry.fact("goal") != "pictures":
            raise SettingError(
                f"{entry.name} is an attack of a malicious server on secure sums, which a model alone "
                "does not show; expected an attack on a model or an update (quintain list leak --long), "
                "or docs/federated.md"
            )
    guess_it = [entry for entry in named if entry.fact("goal") == ATTRIBUTES]
    if guess_it and not inputs.attribute:
        raise SettingError(
            f"{guess_it[0].name} guesses what is sensitive of an example; expected --attribute to say "
            "what: a number of vectors such as 3, its name, or a block of pixels such as 0:4,0:4"
        )
    if inputs.attribute and named and not guess_it:
        raise SettingError(
            f"--attribute {inputs.attribute}, which {named[0].name} does not guess; expected an attack of "
            "the goal attributes (quintain list leak --long)"
        )
    if inputs.shadows % 2:
        raise SettingError(
            f"--shadows {inputs.shadows}; expected an even number, such as 16: half of them are trained on "
            "each candidate"
        )
    if inputs.train and inputs.epochs is not None:
        raise SettingError(f"got --train {inputs.train} and --epochs {inputs.epochs}; expected one of them")
    if inputs.private is not None and inputs.claim is not None:
        raise SettingError(
            f"got --private {inputs.private} and --claim {inputs.claim:g}; expected one of them: the record "
            "of the private training has its epsilon"
        )
    if inputs.delta is not None and inputs.claim is None:
        raise SettingError(
            f"got --delta {inputs.delta:g} without --claim, whose delta it is; expected --claim with the "
            "epsilon that is claimed, or no --delta: the record of --private has its own"
        )
    if inputs.canaries == 1:
        raise SettingError("--canaries 1; expected 0 for none, or at least 2: half of them are trained on")
    if inputs.canaries and not inputs.train and inputs.epochs is None:
        raise SettingError(
            f"--canaries {inputs.canaries} trains a second model as the first one was; expected --train "
            "mine.py:train or --epochs N, which say how"
        )
    if inputs.canaries and _retrains_without_privacy(inputs):
        raise SettingError(f"--canaries {inputs.canaries} {_retraining_refusal(inputs)}")


def default_attacks(inputs: LeakInputs) -> "tuple[list[Entry], tuple[NotDone, ...]]":
    """Return the first attack of each goal that can be run, and the goals of which none can."""
    from quintain.evaluate.images import drawable
    from quintain.evaluate.leaks.choice import REMEDIES, default_leaks
    from quintain.results.records import NotDone

    chosen: list[Entry] = []
    if inputs.is_trained:
        target, no_training = inputs.target, _why_no_training(inputs)
        knows = ["public"]
        knows += ["attribute"] if inputs.attribute else []
        knows += ["architecture"] if target.build is not None else []
        knows += [] if no_training else ["shadows"]
        found, missing = default_leaks(inputs.attacker_access, knows=knows)
        why_not = f"needs a second training, and {no_training}" if no_training else ""
        if _retrains_without_privacy(inputs):
            why_not = _retraining_refusal(inputs)
        remedy = "give the net itself" if inputs.is_black_box else REMEDIES[RETRAINED]
        left_out = [entry for entry in found if why_not and entry.fact("goal") == RETRAINED]
        missing += tuple(NotDone(RETRAINED, f"{entry.name} {why_not}", remedy) for entry in left_out)
        found = tuple(entry for entry in found if entry not in left_out)
        chosen += found
    else:
        missing = (NotDone("attacks on the model", UNTRAINED, "give --weights"),)
    if not inputs.is_black_box and (not chosen or drawable(inputs.call.examples.shape)):
        chosen.append(choose("leak", access=UPDATE))
    return chosen, missing


def is_on_model(entry: Entry) -> bool:
    """Whether an attack is measured as the others of its goal: all but the first one on updates, and
    functions that reconstruct one picture, which are tried on a plain, a summed and a private update.
    """
    if entry.fact("access") != UPDATE:
        return True
    return entry != choose("leak", access=UPDATE) and isinstance(entry.load(), type)


def build_attack(inputs: LeakInputs, entry: Entry) -> "LeakageAttack":
    """Return an attack with the settings that options name.

    Raises:
        SettingError: If it needs more of the model than the attacker sees, or shadow models that cannot
            be trained.
    """
    _refuse_without_access(inputs, entry)
    _refuse_without_shadows(inputs, entry)
    attack: LeakageAttack = entry.build(shadows=inputs.shadows, steps=inputs.steps)
    return attack


def _retrains_without_privacy(inputs: LeakInputs) -> bool:
    """Whether a second model would be trained without the privacy that is claimed for the first."""
    return not inputs.train and (inputs.private is not None or inputs.claim is not None)


def _retraining_refusal(inputs: LeakInputs) -> str:
    """Say what is wrong with that."""
    how = "as nobody said" if inputs.epochs is None else f"by --epochs {inputs.epochs}"
    return (
        f"trains a second model, {how}, without the privacy that is claimed; expected --train "
        "mine.py:train, which trains it as the first"
    )


def _why_no_training(inputs: LeakInputs) -> str:
    """Return why no net can be trained as the model was; nothing where one can."""
    if inputs.is_black_box:
        return f"{inputs.call.model} is a black box, of whose kind none can be trained"
    if inputs.target.build is None:
        return f"{inputs.call.model} gives the same weights for every seed, so that no fresh net can be built"
    return "" if inputs.target.train else "nobody said how the model was trained"


def _refuse_without_access(inputs: LeakInputs, entry: Entry) -> None:
    """Raise SettingError where an attack needs more of the model than the attacker sees."""
    from quintain.models.protocol import ACCESS, includes_access

    needed = entry.fact("access")
    if needed in (UPDATE, SUM) and inputs.is_black_box:
        raise SettingError(
            f"{entry.name} is an attack on updates, and {inputs.call.model} is a black box, which sends "
            "none; expected a net, or an attack on models (quintain list leak --long)"
        )
    if needed in ACCESS and not includes_access(inputs.attacker_access, needed):
        why = "" if inputs.access else f", all that {inputs.call.model} gives"
        raise SettingError(
            f"{entry.name} needs {needed} of the model; the attacker sees {inputs.attacker_access}{why}. "
            "Take an attack on those (quintain list leak --long says what each needs)"
        )


def _refuse_without_shadows(inputs: LeakInputs, entry: Entry) -> None:
    """Raise SettingError where an attack needs shadow models that cannot be trained."""
    retrains = entry.fact("goal") == RETRAINED
    why = _why_no_training(inputs) if retrains or "shadows" in entry.words("needs") else ""
    if not why:
        return
    expected = "--train mine.py:train or --epochs N of Quintain's own training, or "
    if inputs.is_black_box:
        expected = ""
    elif inputs.target.build is None:
        expected = "a factory of an untrained net with the trained weights as --weights, or "
    raise SettingError(
        f"{entry.name} needs {'a second training' if retrains else 'shadow models'}, and {why}; expected "
        f"{expected}an attack that needs none (quintain list leak --long)"
    )
