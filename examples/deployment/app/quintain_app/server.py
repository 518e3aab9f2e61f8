"""What the SuperLink runs: all rounds, by ``server.toml``."""

from quintain.federated.flower import server_app

app = server_app()
