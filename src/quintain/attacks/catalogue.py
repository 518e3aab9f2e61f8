"""The registered attacks, group by group."""

from quintain.attacks.decision_based.catalogue import CATALOGUE as LABELS
from quintain.attacks.ensembles.catalogue import CATALOGUE as ENSEMBLES
from quintain.attacks.gradient.catalogue import CATALOGUE as GRADIENT
from quintain.attacks.minimum_norm.catalogue import CATALOGUE as SMALLEST
from quintain.attacks.score_based.catalogue import CATALOGUE as SCORES
from quintain.attacks.universal.catalogue import CATALOGUE as PHYSICAL
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (*GRADIENT, *SMALLEST, *SCORES, *LABELS, *PHYSICAL, *ENSEMBLES)
