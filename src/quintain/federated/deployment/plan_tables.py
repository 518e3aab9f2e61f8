"""The tables of a plan's file: each is read into settings, or refused by file, table and key."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from quintain.core.errors import ProtocolError, SettingError
from quintain.core.registry import choose
from quintain.dp.accounting.guarantee import PrivacyUnit
from quintain.federated.aggregation import Aggregation
from quintain.federated.client_noise import ClientNoise
from quintain.federated.deployment.toml_table import prefix_errors, read_table
from quintain.federated.grouped_sum import robust_aggregation
from quintain.federated.homomorphic_sum import HomomorphicSum
from quintain.federated.site_privacy import SitePrivacy, private_sites
from quintain.federated.strategies.strategy import Strategy
from quintain.training import Recipe


def read_recipe(path: Path, given: object, *, is_private: bool) -> Recipe:
    """Return how a site trains in a round; under DP-SGD another recipe would say nothing.

    Raises:
        SettingError: If a key is unknown or missing, or a value is wrong.
    """
    if given is None:
        if is_private:
            return Recipe(epochs=1)
        raise SettingError(f"{path}: [recipe] is missing; expected at least its epochs")
    if is_private:
        raise SettingError(
            f"{path}: [recipe] beside [privacy], by which each site trains instead; expected steps, "
            "sample_rate and learning_rate in [privacy]: leave [recipe] out"
        )
    values: dict[str, Any] = read_table(
        path, given, get_type_hints(Recipe), required=["epochs"], table="recipe"
    )
    with prefix_errors(path, "recipe"):
        return Recipe(**values)


def read_strategy(path: Path, given: object) -> Strategy:
    """Return how sites train together, from a name, or from a table of a name and the strategy's own numbers.

    Raises:
        SettingError: If there is no such strategy, a key is none of its, or a value is wrong.
    """
    if given is None or isinstance(given, str):
        with prefix_errors(path):
            made: Strategy = choose("strategy", given or "").build()
        return made
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise SettingError(
            f"{path}: strategy = {given!r}; expected a name of 'quintain list strategy', or a table "
            '[strategy] with name = "fedprox" and what it takes, such as mu = 0.1'
        )
    with prefix_errors(path, "strategy"):
        found = choose("strategy", given["name"]).load()
    names = [one.name for one in fields(found) if one.init] if is_dataclass(found) else []
    types = get_type_hints(found)
    kinds = {"name": str, **{name: types[name] for name in names}}
    values: dict[str, Any] = read_table(path, given, kinds, table="strategy")
    del values["name"]
    with prefix_errors(path, "strategy"):
        taken: Strategy = found(**values)
    return taken


def read_privacy(path: Path, given: object) -> tuple[SitePrivacy | None, PrivacyUnit]:
    """Return DP-SGD at each site as ``quintain federate --epsilon`` makes it, but for what the file says.

    Raises:
        SettingError: If a key is unknown or missing, or a value is wrong.
    """
    if given is None:
        return None, "record"
    kinds = {**get_type_hints(SitePrivacy), "unit": PrivacyUnit}
    values: dict[str, Any] = read_table(path, given, kinds, required=["epsilon"], table="privacy")
    unit: PrivacyUnit = values.pop("unit", "record")
    with prefix_errors(path, "privacy"):
        usual = private_sites(values.pop("epsilon"), values.pop("delta", 1e-5), None)
        return replace(usual, **values), unit


def read_noise(path: Path, given: object) -> ClientNoise | None:
    """Return the noise on the sums, as ``quintain federate --noise-multiplier`` makes it.

    Raises:
        SettingError: If a key is unknown or missing, or a value is wrong.
    """
    if given is None:
        return None
    values: dict[str, Any] = read_table(
        path,
        given,
        get_type_hints(ClientNoise),
        required=["clip_norm", "noise_multiplier"],
        table="noise",
    )
    with prefix_errors(path, "noise"):
        return ClientNoise(**values)


def read_weights(path: Path, given: dict[str, object] | None) -> dict[str, int] | None:
    """Return each site's public weight; None for equal ones.

    Raises:
        SettingError: If one is no whole number.
    """
    if given is None:
        return None
    values: dict[str, Any] = read_table(path, given, dict.fromkeys(given, int), table="weights")
    return values


def read_aggregation(secure: str, key_id: str | None, robust: str) -> Aggregation:
    """Return what sums, as a server has it.

    Args:
        secure: Name of the aggregation.
        key_id: Of the key that homomorphic sums are under.
        robust: The robust average over sums of groups; empty for none.

    Raises:
        SettingError: If these do not go together.
    """
    made = _aggregation(secure, key_id)
    return robust_aggregation(robust, made) if robust else made


def _aggregation(secure: str, key_id: str | None) -> Aggregation:
    entry = choose("aggregation", secure)
    if entry.name != HomomorphicSum.name:
        if key_id is not None:
            raise SettingError(
                f"key_id = {key_id!r} with secure = {entry.name!r}, which needs none; leave it out"
            )
        made: Aggregation = entry.build()
        return made
    try:
        return HomomorphicSum(bytes.fromhex(key_id or ""))
    except (ValueError, ProtocolError):
        raise SettingError(
            f"key_id = {key_id!r} with secure = 'he'; expected the id of the key that the sites share, 32 "
            "hexadecimal digits: SharedKey.load(path).key_id.hex()"
        ) from None
