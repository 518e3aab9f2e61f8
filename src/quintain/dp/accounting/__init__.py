"""What private training costs: epsilon from above and below, and the noise for a target."""

from quintain.dp.accounting.calibration import calibrate_noise_multiplier as calibrate_noise_multiplier
from quintain.dp.accounting.composition import epsilon_bounds as epsilon_bounds
from quintain.dp.accounting.guarantee import EpsilonBounds as EpsilonBounds
from quintain.dp.accounting.guarantee import Guarantee as Guarantee
from quintain.dp.accounting.pld import ADJACENCY as ADJACENCY
from quintain.dp.accounting.pld import composed_epsilon as composed_epsilon
from quintain.dp.accounting.pld import delta_curve as delta_curve
from quintain.dp.accounting.pld import epsilon as epsilon
