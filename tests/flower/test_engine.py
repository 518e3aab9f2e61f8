"""A simulation whose messages Flower's simulation engine carries ends as one in this process, bit for bit."""

import sys

import pytest
import torch

from quintain.core.errors import ModelError, SettingError
from quintain.federated import simulate
from quintain.federated.flower.engine import flower_engine
from tests.federated.settings import Party, linear, weights


def test_a_simulation_over_flower_is_the_local_one_also_where_sites_drop_out():
    party = Party()
    names = list(party.sites)
    drop = {0: {names[0]: "keys", names[1]: "shares"}, 1: {names[2]: "late"}}
    here, there = linear(), linear()
    expected = simulate(party.sites, here, party.config, dropouts=drop)
    run = simulate(party.sites, there, party.config, dropouts=drop, engine=flower_engine)
    assert [one.survivors for one in run.rounds] == [one.survivors for one in expected.rounds]
    assert [one.abort_reason for one in run.rounds] == [one.abort_reason for one in expected.rounds]
    assert all(one.simulated.exact for one in run.rounds if one.survivors)
    assert torch.equal(weights(there), weights(here))


def test_what_a_site_or_the_server_raises_is_what_the_user_sees():
    def refusing(_message):
        raise SettingError("this site has no data")

    def work(carry):
        ((site, reply), (other, raised)) = carry({0: b"first", 1: b"second"})
        assert (site, reply, other) == (0, b"tsrif", 1)
        raise raised

    with pytest.raises(SettingError, match="this site has no data"):
        flower_engine([lambda message: message[::-1], refusing], work)


def test_a_net_that_calls_sys_exit_at_a_site_is_an_error_that_the_user_sees():
    def leaving(_message):
        sys.exit(0)

    def work(carry):
        ((_, raised),) = carry({0: b"first"})
        raise raised

    with pytest.raises(ModelError, match="the net fails in training: SystemExit: 0"):
        flower_engine([leaving], work)
