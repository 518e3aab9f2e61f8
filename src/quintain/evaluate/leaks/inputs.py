"""What every measurement of a leak checks before it begins, and the view that it opens for an attack."""

from quintain.core.errors import DataError, SettingError
from quintain.data.dataset import Dataset
from quintain.data.equal_examples import example_hashes
from quintain.evaluate.leaks.job import LeakJob
from quintain.leakage.attack import LeakageAttack
from quintain.leakage.view import ModelView
from quintain.models.protocol import Access, ClassifierLike, includes_access


class SharedExamplesError(DataError):
    """Examples that the target was trained on are among those that it is said not to have seen."""


def require_same_shape(members: Dataset, others: Dataset) -> None:
    """Raise DataError if the examples of two sets differ in shape."""
    if members.shape != others.shape:
        raise DataError(
            f"{members.name} has examples of shape {members.shape}, {others.name} of {others.shape}; "
            "expected the same"
        )


def require_comparable(members: Dataset, others: Dataset) -> None:
    """Raise if two sets of examples cannot stand for one kind, of which the target saw the first alone.

    Raises:
        DataError: If their examples differ in shape, or one example is in both (by its values, whatever its
            label), so that what is learned of it would be no leak. ``overlap.leave_out_shared`` takes a few
            out instead.
    """
    require_same_shape(members, others)
    seen = set(example_hashes(members))
    known = sum(one in seen for one in example_hashes(others))
    if known:
        raise SharedExamplesError(
            f"{known} examples of {others.name} are in {members.name}, too; expected none: an attacker who "
            "has the training examples has nothing to find. Take them out of one of the two"
        )


def require_classes(data: Dataset) -> None:
    """Raise DataError if all examples have one label, so that there is nothing to learn."""
    if len(set(data.labels.tolist())) < 2:
        raise DataError(
            f"all {len(data)} examples of {data.name} are of class {data.labels[0]}; expected at least two "
            "classes"
        )


def access_of(job: LeakJob, attack: LeakageAttack, model: ClassifierLike) -> Access:
    """Return the level at which an attack sees a model: what the job allows, or all that the model gives.

    An attack that needs no gradients is given none.

    Raises:
        SettingError: If the attack needs more than that.
    """
    access = job.access or model.access
    if not includes_access(access, attack.access):
        raise SettingError(
            f"{attack.name} needs {attack.access} of the model; the attacker sees {access}. Take an attack "
            "on those (quintain list leak --long says what each needs)"
        )
    return "scores" if access == "gradients" and attack.access != "gradients" else access


def open_view(
    job: LeakJob, attack: LeakageAttack, model: ClassifierLike, *, max_queries: int | None
) -> ModelView:
    """Return a new metered view of a model at the job's level.

    Raises:
        SettingError: If the attack needs more than the job allows.
    """
    return ModelView(model, access=access_of(job, attack, model), max_queries=max_queries)
