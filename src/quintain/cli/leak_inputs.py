"""The inputs of ``quintain leak``: the model, how it was trained, who was trained on, and what is claimed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from quintain.core.errors import ModelError, SettingError
from quintain.core.registry import declared_entries
from quintain.core.seeds import derive_seed

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.data.dataset import Dataset
    from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
    from quintain.evaluate.leaks.job import LeakTarget, Trainer
    from quintain.evaluate.leaks.trainers import NetBuilder
    from quintain.evaluate.steps.leaks import LeakPlan
    from quintain.leakage.hidden_attribute import HiddenAttribute
    from quintain.models.protocol import Access

DEFAULT_DELTA = 1e-5
"""Of ``--claim``."""

PROBED = 100
"""Training examples on which it is seen whether a net without ``--weights`` is trained."""


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
    delta: float | None = None
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
        from quintain.models.protocol import includes_access

        given = self.target.model.access
        if self.access is None:
            return given
        if not includes_access(given, self.access):
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
            delta = DEFAULT_DELTA if self.delta is None else self.delta
            return PrivacyGuarantee.from_claim(self.claim, delta)
        if self.private is None:
            return None
        from quintain.cli.leak_private import read_private_training

        plan = read_private_training(self.private, self.call).plan
        return PrivacyGuarantee.of_plan(plan, unit=_unit(self.call.examples.shape))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What the reader must know of the data and of the private training."""
        from quintain.cli.leak_private import data_notes

        if self.private is None:
            return ()
        return (*data_notes(self.private, self.call.data), *self.call.first_weights_notes)

    @cached_property
    def model_notes(self) -> tuple[str, ...]:
        """What the reader must know of a net without ``--weights``: that it has learned nothing.

        It counts as trained if its weights are the same for every seed and it is better than the majority
        class on its training examples, as in a drill.
        """
        from quintain.evaluate.model import is_better_than_majority

        if self.is_black_box or self.call.weights is not None:
            return ()
        probed = self.call.train.sample(PROBED, seed=derive_seed(0, "probe"))
        model = self.call.model_under_test.model
        if self._builder is None and is_better_than_majority(model, probed):
            return ()
        why = (
            f"on {len(probed)} of the examples that it was trained on, as you say, it is not better than the "
            "majority class"
            if self._builder is None
            else "its weights differ by seed"
        )
        return (
            f"{self.call.model} was attacked without --weights and seems untrained: {why}. What no attack "
            "finds in first weights says nothing of the trained model; give --weights",
        )

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
        from quintain.evaluate.leaks.people import is_other_class

        public, known = self.named_public, self.call.train
        return public is not None and any(
            is_other_class(label, public, known) for label in set(public.labels.tolist())
        )

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

        _ = self.attacker_access  # refuses an --access that the model does not give
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


def _unit(shape: Sequence[int]) -> str:
    return "image" if len(shape) == 3 else "example"
