"""The registered aggregations."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "aggregation",
        "secagg",
        "quintain.federated.aggregate:secure_sum",
        "exact sums of masked vectors, over sites that may fall silent at any stage (Bonawitz et al. 2017)",
        guarantee="the server learns the sum over at least `min_survivors` sites "
        "and nothing else of a site's vector, "
        "if 2t > n + max_corrupt and at most `max_corrupt` sites collude with it; "
        "a sum may still tell, and so may two that differ in their sites: add differential privacy",
    ),
)
