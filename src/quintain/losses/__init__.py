"""What attacks and defences ascend and descend, one value per example."""

from quintain.losses.cross_entropy import cross_entropy as cross_entropy
from quintain.losses.cross_entropy import log_odds as log_odds
from quintain.losses.margin import margin as margin
