"""What a simulation says while it runs."""

from contextlib import contextmanager

from quintain.federated import FederatedConfig, partition, simulate
from tests.federated.settings import SHORT, blobs, linear


class Told:
    """A progress display that keeps what it is told."""

    def __init__(self):
        self.texts = []

    @contextmanager
    def bar(self, label, total):
        yield lambda done: None

    def set_status(self, text):
        self.texts.append(text)


def test_progress_says_the_round_its_stage_and_who_is_late():
    told, sites = Told(), partition(blobs(), 4, min_examples=10, min_per_class=1).sites
    simulate(
        sites, linear(), FederatedConfig(2, SHORT), dropouts={1: {"hospital-2": "masked"}}, progress=told
    )
    stages = ["training", "keys", "shares", "masked", "consistency", "unmask"]
    first, second = ([text for text in told.texts if text.startswith(f"round {n} of 2: ")] for n in (1, 2))
    assert list(dict.fromkeys(first)) == [f"round 1 of 2: {stage}" for stage in stages]
    late = ", hospital-2 late"
    assert list(dict.fromkeys(second)) == [
        f"round 2 of 2: {text}"
        for text in (*stages[:4], f"masked{late}", f"consistency{late}", f"unmask{late}")
    ]
    assert len(first) + len(second) == len(told.texts)
