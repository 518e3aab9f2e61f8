"""Flower's own simulation engine (Ray) runs the same two apps to the same model bit for bit."""

import os

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from quintain.federated.flower import SecAgg, secagg_mod
from tests.flower.app import NUM_SITES, client_app, config, net
from tests.flower.federation import enroll, equal, numbers, settings_in, terms_of
from tests.flower.test_sums import ALL, ROUNDS, by_hand

ONE_WORKER = {
    "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    "init_args": {"num_cpus": 1, "include_dashboard": False, "logging_level": "error"},
}


def test_the_simulation_engine_makes_the_model_of_a_plain_sum_of_integers(tmp_path):
    strategy = SecAgg(
        FedAvg(fraction_evaluate=0.0, min_available_nodes=NUM_SITES, min_train_nodes=NUM_SITES),
        terms_of(enroll(tmp_path)),
    )
    app, models = ServerApp(), []

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        result = strategy.start(grid, ArrayRecord(net().state_dict()), ROUNDS, train_config=config())
        models.append(numbers(result.arrays))

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    run_simulation(app, client_app([secagg_mod(settings_in(tmp_path))]), NUM_SITES, backend_config=ONE_WORKER)
    assert [report.abort_reason for report in strategy.reports] == [""] * ROUNDS
    assert equal(models[0], by_hand([ALL] * ROUNDS))
