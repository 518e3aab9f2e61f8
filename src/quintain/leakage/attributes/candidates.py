"""The queries of attacks on attributes: each candidate with each value in place of the hidden one."""

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.leakage.answers import query_log_odds
from quintain.leakage.attack import Candidates
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.leakage.view import ModelView


def log_odds_by_value(
    view: ModelView, attribute: HiddenAttribute, candidates: Candidates, *, budget: int, attack: str
) -> Tensor:
    """Return the log odds of each candidate's label for each value (n, V), float64; one query a value.

    Raises:
        SettingError: If the candidates are not given, or there is a value more than queries.
    """
    x, count = candidates.examples(attack=attack), len(attribute.values)
    if budget < count:
        raise SettingError(
            f"a budget of {budget} queries for each candidate; {attack} needs {count}, one for each value of "
            f"{attribute.name}"
        )
    columns = [query_log_odds(view, attribute.put(x, number), candidates.y) for number in range(count)]
    return torch.stack(columns, dim=1)
