"""Who is private and who is public, where the face of a class is sought, with their pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from quintain.core.errors import DataError, SettingError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.evaluate.leaks.inputs import require_comparable
from quintain.evaluate.leaks.job import LeakJob
from quintain.leakage.judges.identity import Pictures

MIN_PEOPLE, MIN_PUBLIC_PEOPLE = 3, 3
"""People whom the target must know, and other people among whom they are ranked."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Who is private and who is public, with their pictures: each class of the target is taken for a person.

    Args:
        classes: Classes of the target that are people, ascending; the judge numbers them 0 ... k - 1.
        members: Pictures that the target was trained on.
        known: Other pictures of the same people.
        public_data: Pictures of other people, whom the judge numbers from k.
    """

    classes: tuple[int, ...]
    members: Dataset
    known: Dataset
    public_data: Dataset

    @classmethod
    def of(cls, job: LeakJob) -> "People":
        """Tell who is who in a job, see ``identity.measure``.

        Raises:
            DataError: If a picture is in two groups, or a person has no other picture.
            SettingError: If there are too few people, or public ones have classes of the private ones: what
                is called the same is taken for the same, as where classes are no people.
        """
        classes = tuple(sorted(set(job.members.labels.tolist())))
        numbers = ", ".join(map(str, classes[:5]))  # names of private people stay out of records
        if len(classes) < MIN_PEOPLE:
            raise SettingError(
                f"{job.members.name} has {len(classes)} classes ({numbers}); expected at least {MIN_PEOPLE}, "
                "each a person whose face the model may give away"
            )
        if max(classes) >= job.target.model.num_classes:
            raise DataError(
                f"{job.members.name} has labels up to {max(classes)}; expected at most "
                f"{job.target.model.num_classes - 1}: {job.target.model.name} has "
                f"{job.target.model.num_classes} classes"
            )
        is_private = np.isin(job.others.labels, classes)
        public = job.public
        if public is None and not is_private.all():
            public = job.others.subset(np.flatnonzero(~is_private), name=f"{job.others.name}, public people")
        if public is not None:
            _require_other_people(job.members, public)
        if public is None or len(set(public.labels.tolist())) < MIN_PUBLIC_PEOPLE:
            count = 0 if public is None else len(set(public.labels.tolist()))
            raise SettingError(
                f"pictures of {count} other people; expected those of at least {MIN_PUBLIC_PEOPLE}, under "
                f"labels or names that no class of {job.members.name} has: the attacker knows "
                "them, and the judge ranks all people together"
            )
        missing = sorted(set(classes) - set(job.others.labels.tolist()))
        if missing:
            raise DataError(
                f"{job.others.name} has no picture of {len(missing)} people, such as class {missing[0]}; "
                "expected at least one each that the target was not trained on, by which the judge knows them"
            )
        known = job.others.subset(np.flatnonzero(is_private), name=f"{job.others.name}, private people")
        for first, second in ((job.members, known), (job.members, public), (known, public)):
            require_comparable(first, second)
        return cls(classes, job.members, known, public)

    def training(self) -> Pictures:
        """Return the target's training pictures."""
        return _read(self.members, {label: number for number, label in enumerate(self.classes)})

    def others(self) -> Pictures:
        """Return the private people's other pictures."""
        return _read(self.known, {label: number for number, label in enumerate(self.classes)})

    def public(self) -> Pictures:
        """Return the public people's pictures."""
        labels = sorted(set(self.public_data.labels.tolist()))
        return _read(
            self.public_data, {label: len(self.classes) + number for number, label in enumerate(labels)}
        )

    def candidates(self, count: int, *, seed: int) -> list[int]:
        """Return the numbers of the people who are sought, ascending: all, or some by the seed."""
        generator = np.random.default_rng(derive_seed(seed, "identity", "candidates"))
        return sorted(generator.permutation(len(self.classes))[:count].tolist())


def is_other_class(label: int, data: Dataset, known: Dataset) -> bool:
    """Whether a class of ``data`` is none of the classes of ``known``: by its name, or number without names.

    Names are compared without case and outer spaces. Where one has a name for the number and the other has
    none, they are taken for the same.
    """
    if label < known.num_classes and _has_name(data, label) != _has_name(known, label):
        return False
    return _name(data, label) not in {_name(known, one) for one in range(known.num_classes)}


def _name(data: Dataset, label: int) -> str:
    """Return the name of a class as it is compared; its number where it has none."""
    return data.class_names[label].strip().casefold()


def _has_name(data: Dataset, label: int) -> bool:
    """Whether a class has a name besides its number."""
    return _name(data, label) != str(label)


def _require_other_people(members: Dataset, public: Dataset) -> None:
    """Raise SettingError if public people may be private ones."""
    private, labels = sorted(set(members.labels.tolist())), sorted(set(public.labels.tolist()))
    of_private = {_name(members, label) for label in private}
    shared = [label for label in labels if _name(public, label) in of_private]
    if shared:
        raise SettingError(
            f"{len(shared)} classes of {public.name}, such as {shared[0]}, are classes of "
            f"{members.name}, too; expected other people, under labels or names of their own"
        )
    unsure = [
        label for label in set(private) & set(labels) if _has_name(members, label) != _has_name(public, label)
    ]
    if unsure:
        raise SettingError(
            f"{len(unsure)} classes of {public.name}, such as {min(unsure)}, have the number of a class of "
            f"{members.name}, and only one of the two has class_names: whether they are the same people "
            "cannot be told. Expected names in both, or numbers that no private class has"
        )


def _read(data: Dataset, numbers: Mapping[int, int]) -> Pictures:
    """Return all pictures (n, *S), and the numbers of the people whom they show (n,)."""
    x = torch.cat([batch.x for batch in data.batches(READ_BATCH_SIZE)])
    return x, torch.tensor([numbers[label] for label in data.labels.tolist()])
