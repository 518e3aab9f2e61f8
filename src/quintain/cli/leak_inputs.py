"""The inputs of ``quintain leak``: the model, how it was trained, who was trained on, and what is claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.core.errors import ModelError, SettingError
from quintain.core.registry import Entry, choose, declared_entries
from quintain.core.seeds import derive_seed

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.data.dataset import Dataset
    from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
    from quintain.evaluate.leaks.job import LeakTarget, Trainer
    from quintain.evaluate.leaks.trainers import NetBuilder
    from quintain.evaluate.steps.leaks import LeakPlan
    from quintain.leakage.attack import LeakageAttack
    from quintain.leakage.hidden_attribute import HiddenAttribute
    from quintain.models.protocol import Access
    from quintain.results.records import NotDone

UNTRAINED = "the net has its first weights, which hold nothing of the data; only updates were attacked"

RETRAINED = "exposure"
"""The goal of attacks that a second model is trained for, with canaries."""

ATTRIBUTES = "attributes"
"""The goal of attacks that guess what is sensitive of an example."""

UPDATE, SUM = "update", "sum"
"""What attacks see that are on a site's update, or on a sum of many."""


@dataclass(frozen=True, kw_only=True)
class LeakInputs:
    """One call of ``quintain leak``; every field is the option of its name.

    Args:
        call: What the shared options said.
    """

    call: "VerbCall"
    public: str = ""
    access: "Access | None" = None
    budget: int = 1000
    candidates: int = 1000
    shadows: int = 16
    canaries: int = 0
    train: str = ""
    epochs: int | None = None
    batch_size: int = 128
    learning_rate: float = 1e-3
    private: Path | None = None
    claim: float | None = None
    delta: float = 1e-5
    steps: int = 800
    attribute: str = ""
    show_private: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether the model has learned: a black box, a file of weights, or a factory that gives its own."""
        if self.is_black_box or self.call.weights is not None:
            return True
        return self.call.model not in declared_entries("model") and self._builder is None

    @property
    def is_black_box(self) -> bool:
        """Whether the model is only queried."""
        from quintain.models.loading import is_black_box

        return is_black_box(self.call.model)

    @property
    def shows_pictures(self) -> bool:
        """Whether pictures may be stored: those of bundled public data, or of the user who said so."""
        datasets = declared_entries("dataset")
        bundled = self.call.data in datasets and datasets[self.call.data].is_true("is_public")
        return self.show_private or bundled

    def refuse(self, named: Sequence[Entry]) -> None:
        """Raise SettingError for options that do not fit each other."""
        for entry in named:
            if entry.fact("goal") == RETRAINED and self.retrains_without_privacy:
                raise SettingError(f"{entry.name} {self._retraining_refusal}")
            if entry.fact("access") == SUM and entry.fact("goal") != "pictures":
                raise SettingError(
                    f"{entry.name} is an attack of a malicious server on secure sums, which a model alone "
                    "does not show; expected an attack on a model or an update (quintain list leak --long), "
                    "or docs/federated.md"
                )
        guess_it = [entry for entry in named if entry.fact("goal") == ATTRIBUTES]
        if guess_it and not self.attribute:
            raise SettingError(
                f"{guess_it[0].name} guesses what is sensitive of an example; expected --attribute to say "
                "what: a number of vectors such as 3, its name, or a block of pixels such as 0:4,0:4"
            )
        if self.attribute and named and not guess_it:
            raise SettingError(
                f"--attribute {self.attribute}, which {named[0].name} does not guess; expected an attack of "
                "the goal attributes (quintain list leak --long)"
            )
        if self.shadows % 2:
            raise SettingError(
                f"--shadows {self.shadows}; expected an even number, such as 16: half of them are trained on "
                "each candidate"
            )
        if self.train and self.epochs is not None:
            raise SettingError(f"got --train {self.train} and --epochs {self.epochs}; expected one of them")
        if self.private is not None and self.claim is not None:
            raise SettingError(
                f"got --private {self.private} and --claim {self.claim:g}; expected one of them: the record "
                "of the private training has its epsilon"
            )
        if self.canaries == 1:
            raise SettingError(
                "--canaries 1; expected 0 for none, or at least 2: half of them are trained on"
            )
        if self.canaries and not self.train and self.epochs is None:
            raise SettingError(
                f"--canaries {self.canaries} trains a second model as the first one was; expected --train "
                "mine.py:train or --epochs N, which say how"
            )
        if self.canaries and self.retrains_without_privacy:
            raise SettingError(f"--canaries {self.canaries} {self._retraining_refusal}")

    @property
    def retrains_without_privacy(self) -> bool:
        """Whether a second model would be trained without the privacy that is claimed for the first."""
        return not self.train and (self.private is not None or self.claim is not None)

    @property
    def _retraining_refusal(self) -> str:
        how = "as nobody said" if self.epochs is None else f"by --epochs {self.epochs}"
        return (
            f"trains a second model, {how}, without the privacy that is claimed; expected --train "
            "mine.py:train, which trains it as the first"
        )

    def default_attacks(self) -> "tuple[list[Entry], tuple[NotDone, ...]]":
        """Return the first attack of each goal that can be run, and the goals of which none can."""
        from quintain.evaluate.images import drawable
        from quintain.evaluate.steps.leaks import default_leaks
        from quintain.results.records import NotDone

        chosen: list[Entry] = []
        if self.is_trained:
            target = self.target
            knows = ["public"]
            knows += ["attribute"] if self.attribute else []
            knows += ["architecture"] if target.build is not None else []
            knows += ["shadows"] if target.build is not None and target.train is not None else []
            found, missing = default_leaks(self.attacker_access, knows=knows)
            why_not = (
                self._retraining_refusal
                if self.retrains_without_privacy
                else ""
                if target.build and target.train
                else "needs a second training, and nobody said how the model was trained"
            )
            left_out = [entry for entry in found if why_not and entry.fact("goal") == RETRAINED]
            missing += tuple(
                NotDone(RETRAINED, f"{entry.name} {why_not}", "give --train mine.py:train, or --epochs")
                for entry in left_out
            )
            found = tuple(entry for entry in found if entry not in left_out)
            chosen += found
        else:
            missing = (NotDone("attacks on the model", UNTRAINED, "give --weights"),)
        if not self.is_black_box and (not chosen or drawable(self.call.examples.shape)):
            chosen.append(choose("leak", access=UPDATE))
        return chosen, missing

    def is_on_model(self, entry: Entry) -> bool:
        """Whether an attack is measured as the others of its goal: all but the first one on updates, and
        functions that reconstruct one picture, which are tried on a plain, a summed and a private update.
        """
        if entry.fact("access") != UPDATE:
            return True
        return entry != choose("leak", access=UPDATE) and isinstance(entry.load(), type)

    def build(self, entry: Entry) -> "LeakageAttack":
        """Return an attack with the settings that options name.

        Raises:
            SettingError: If it needs more of the model than the attacker sees, or shadow models that cannot
                be trained.
        """
        self._refuse_without_access(entry)
        self._refuse_without_shadows(entry)
        attack: LeakageAttack = entry.build(shadows=self.shadows, steps=self.steps)
        return attack

    @cached_property
    def target(self) -> "LeakTarget":
        """The model, and how nets like it are made, where that is known."""
        from quintain.evaluate.leaks.job import LeakTarget

        subject = self.call.model_under_test
        build = None if self.is_black_box else self._builder
        guarantee = self.guarantee
        return LeakTarget(
            subject.model,
            subject.file.title,
            build=build,
            train=self._trainer if build is not None else None,
            epsilon=guarantee.epsilon if guarantee else None,
            delta=guarantee.delta if guarantee else None,
            max_tpr=guarantee.max_tpr if guarantee else None,
        )

    @cached_property
    def attacker_access(self) -> "Access":
        """What the attacker sees of the model: what --access says, or all that the model gives.

        Raises:
            SettingError: If --access says more than that.
        """
        from quintain.leakage.view import LEVELS

        given = self.target.model.access
        if self.access is None:
            return given
        if LEVELS.index(self.access) > LEVELS.index(given):
            raise SettingError(
                f"--access {self.access}, and {self.call.model} gives {given} alone; expected at most those: "
                f"--access {given}, or leave it out"
            )
        return self.access

    @cached_property
    def _builder(self) -> "NetBuilder | None":
        """What builds fresh nets; None where the factory gives the same weights for every seed.

        Raises:
            ModelError: If the factory cannot be run.
        """
        from quintain.evaluate.leaks.trainers import NetBuilder, gives_fresh_weights

        builder = NetBuilder(self.call.model, self.call.net_sizes)
        if gives_fresh_weights(builder):
            return builder
        if self.train or self.epochs is not None or self.canaries:
            raise ModelError(
                f"{self.call.model} gives the same weights for every seed; expected a factory of an "
                "untrained net, with the trained weights as --weights, so that shadow models can be trained"
            )
        return None

    @cached_property
    def _trainer(self) -> "Trainer | None":
        """What trains nets as the model was trained; None where nobody said."""
        from quintain.evaluate.leaks.trainers import RecipeTrainer, UserTrainer
        from quintain.training import Recipe

        if self.train:
            return UserTrainer.load(self.train)
        if self.epochs is None:
            return None
        return RecipeTrainer(
            Recipe(epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate)
        )

    @cached_property
    def guarantee(self) -> "PrivacyGuarantee | None":
        """The privacy that is claimed for the model, if any.

        Raises:
            SettingError: If the record is none of a private training, or of another model or other data.
        """
        from quintain.evaluate.leaks.guarantee import PrivacyGuarantee

        if self.claim is not None:
            return PrivacyGuarantee.claimed(self.claim, self.delta)
        if self.private is None:
            return None
        from quintain.cli.leak_private import read_private_training

        plan = read_private_training(self.private, self.call).plan
        return PrivacyGuarantee.of_plan(plan, unit=_unit(self.call.examples.shape))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the reader must know of the data."""
        from quintain.cli.leak_private import data_notes

        return () if self.private is None else data_notes(self.private, self.call.data)

    @cached_property
    def named_public(self) -> "Dataset | None":
        """The examples of ``--public``, under their own labels; None where it was not given."""
        from quintain.data import load_data
        from quintain.data.joined import join

        if not self.public:
            return None
        parts = list(load_data(self.public).as_dict().values())
        return parts[0] if len(parts) == 1 else join(parts, name=self.public)

    @cached_property
    def others(self) -> "Dataset":
        """Examples that the model never saw: those of --public, or the splits that are not train.

        Where --public has classes of its own, as other people are, it stands for these alone.

        Raises:
            SettingError: If there are none.
        """
        public, held_out = self.named_public, self.held_out
        others = held_out if public is None or (held_out is not None and self._has_new_classes) else public
        if others is None:
            raise SettingError(
                f"{self.call.data} has a split train alone; expected examples that the model never saw: "
                "test_images and test_labels in the .npz, or --public other.npz"
            )
        classes = self.call.examples.num_classes
        return others.with_classes(max(classes, others.num_classes))

    @property
    def _has_new_classes(self) -> bool:
        """Whether --public has examples of a class that the training examples have not."""
        if self.named_public is None:
            return False
        known, public = self.call.train.class_names, self.named_public
        return any(public.class_names[label] not in known for label in set(public.labels.tolist()))

    @cached_property
    def held_out(self) -> "Dataset | None":
        """The splits of --data that are not train; None where there are none."""
        from quintain.data.joined import join

        parts = [part for name, part in self.call.splits.as_dict().items() if name != "train"]
        return join(parts, name=self.call.data) if len(parts) > 1 else parts[0] if parts else None

    @cached_property
    def hidden_attribute(self) -> "HiddenAttribute | None":
        """What --attribute names, with the values that it has; None where it was not given.

        Raises:
            SettingError: If the examples have nothing of this name or at this place.
        """
        from quintain.cli.leak_attribute import read_attribute

        return read_attribute(self.attribute, self.call, self.others) if self.attribute else None

    @cached_property
    def plan(self) -> "LeakPlan":
        """The model, the data and the amounts of an attack on the model; all of it is checked here."""
        from quintain.evaluate.steps.leaks import LeakPlan

        _ = self.attacker_access
        return LeakPlan(
            self.target,
            self.call.model_under_test.file.model_hash,
            self.call.train,
            self.others,
            guarantee=self.guarantee,
            access=self.access,
            budget=self.budget,
            candidates=self.candidates,
            shadows=self.shadows,
            canaries=self.canaries,
            seed=derive_seed(self.call.seed, "leak"),
            public=self.named_public,
            held_out=self.held_out,
            attribute=self.hidden_attribute,
        )

    def _refuse_without_access(self, entry: Entry) -> None:
        """Raise SettingError where an attack needs more of the model than the attacker sees."""
        from quintain.leakage.view import LEVELS

        levels, needed = [str(level) for level in LEVELS], str(entry.fact("access"))
        if needed in (UPDATE, SUM) and self.is_black_box:
            raise SettingError(
                f"{entry.name} is an attack on updates, and {self.call.model} is a black box, which sends "
                "none; expected a net, or an attack on models (quintain list leak --long)"
            )
        if needed in levels and levels.index(needed) > levels.index(self.attacker_access):
            why = "" if self.access else f", all that {self.call.model} gives"
            raise SettingError(
                f"{entry.name} needs {needed} of the model; the attacker sees {self.attacker_access}{why}. "
                "Take an attack on those (quintain list leak --long says what each needs)"
            )

    def _refuse_without_shadows(self, entry: Entry) -> None:
        """Raise SettingError where an attack needs shadow models that cannot be trained."""
        target, retrains = self.target, entry.fact("goal") == RETRAINED
        if not ("shadows" in entry.words("needs") or retrains) or (target.build and target.train):
            return
        if self.is_black_box:
            why = f"{self.call.model} is a black box, of whose kind none can be trained"
        elif target.build is None:
            why = (
                f"{self.call.model} gives the same weights for every seed, so that no fresh net can be built"
            )
        else:
            why = "nobody said how the model was trained"
        raise SettingError(
            f"{entry.name} needs {'a second training' if retrains else 'shadow models'}, and {why}; expected "
            "--train mine.py:train or --epochs N of "
            "Quintain's own training, or an attack that needs none (quintain list leak --long)"
        )


def _unit(shape: Sequence[int]) -> str:
    return "image" if len(shape) == 3 else "example"
