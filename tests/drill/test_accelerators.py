"""The whole drill on an accelerator, a fake one, finds what it finds on the CPU."""

import re

import pytest

from quintain.certify import rounding
from quintain.drill import Settings, drill
from quintain.results import codec
from quintain.testing import FakeDeviceTensor, fake_device, on_device
from tests.drill.conftest import stopped

REPEATABLE = ("check", "train", "attack", "harden", "certify", "federate")
"""Steps without noise of the operating system."""


def found(path) -> str:
    record = codec.load(path)
    return re.sub(r"(seconds|sha256)=[^,)]*", "", repr((record.result, record.claims)))


@pytest.mark.exhaustive
def test_the_drill_finds_the_same(finished, tiny, tmp_path, monkeypatch):
    # What bounds layers by rule refuses classes of tensors that it does not know.
    monkeypatch.setattr(rounding, "PLAIN_TYPES", (*rounding.PLAIN_TYPES, FakeDeviceTensor))
    with fake_device() as device:
        on_device(drill, tmp_path, Settings(quick=True), device=device, clock=stopped)
    names = [path.name for path in finished[0].glob("*.json") if path.stem.endswith(REPEATABLE)]
    assert len(names) == len(REPEATABLE)
    for name in names:
        assert found(tmp_path / name) == found(finished[0] / name), name
