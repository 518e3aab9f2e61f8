"""Losses of attacks and defenses, one value per example."""

from quintain.losses.cross_entropy import cross_entropy as cross_entropy
from quintain.losses.cross_entropy import log_odds as log_odds
from quintain.losses.dlr import dlr as dlr
from quintain.losses.dlr import targeted_dlr as targeted_dlr
from quintain.losses.margin import margin as margin
from quintain.losses.probability import log_probability_margin as log_probability_margin
