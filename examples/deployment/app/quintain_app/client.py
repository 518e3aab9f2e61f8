"""What a SuperNode runs for each message: it passes bytes to the site's daemon, and knows nothing."""

from quintain.federated.flower import stub_app

app = stub_app()
