"""What private training costs: epsilon from above and below, and the noise for a target."""

from quintain.dp.accounting.bound import bracket as bracket
from quintain.dp.accounting.calibration import noise_for as noise_for
from quintain.dp.accounting.guarantee import Bracket as Bracket
from quintain.dp.accounting.guarantee import Guarantee as Guarantee
from quintain.dp.accounting.pld import ADJACENCY as ADJACENCY
from quintain.dp.accounting.pld import composed_epsilon as composed_epsilon
from quintain.dp.accounting.pld import delta_curve as delta_curve
from quintain.dp.accounting.pld import epsilon as epsilon
