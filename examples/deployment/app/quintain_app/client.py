"""The ClientApp of a site, which holds no data or keys: it passes bytes to the site's daemon."""

from quintain.federated.flower import stub_app

app = stub_app()
