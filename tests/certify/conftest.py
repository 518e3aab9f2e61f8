import pytest
import torch


@pytest.fixture(autouse=True)
def fixed_draws():
    """Each test starts from the same state of torch's own generator, and leaves it as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
