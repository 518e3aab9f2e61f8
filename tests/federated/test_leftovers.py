"""What a killed process has left beside its files, an update in the clear, goes with the next start."""

import pytest

from quintain.federated import FederatedConfig, simulate
from tests.federated.settings import SHORT, Party, blobs, linear, partition

SCRATCH = "0123456789abcdef"


def test_a_client_that_starts_removes_what_was_left_beside_its_update(tmp_path):
    party, file = Party(), tmp_path / "hospital-1.update"
    others = tmp_path / f".hospital-10.update.{SCRATCH}"
    for one in (tmp_path / f".{file.name}.{SCRATCH}", others):
        one.write_bytes(b"half an update")
    client = party.client("hospital-1", update_file=file)
    assert client.update is None
    assert list(tmp_path.iterdir()) == [others]


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_simulation_that_goes_on_removes_what_was_left_beside_state_and_updates(tmp_path, is_begun):
    sites = partition(blobs(), 4, min_examples=10, min_per_class=1).sites
    config = FederatedConfig(1, SHORT)
    simulate(sites, linear(), config, folder=tmp_path)
    whole = set(tmp_path.iterdir())
    for one in whole:
        one.with_name(f".{one.name}.{SCRATCH}").write_bytes(b"half an update")
        if not is_begun:
            one.unlink()
    assert len(whole) == 5
    simulate(sites, linear(), config, folder=tmp_path)
    assert set(tmp_path.iterdir()) == whole
