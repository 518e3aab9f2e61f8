"""A site's daemon: it trains for an approved plan, answers on its socket, and logs at the site alone."""

from quintain.federated.daemon import listen, serve_daemon
from quintain.federated.deployment.approval import file_terms, net_terms, require_approved
from quintain.federated.deployment.folders import MAY_WRITE, private_folder, used_alone
from quintain.federated.deployment.plan_file import PlanFile
from quintain.federated.deployment.site_log import LoggedClient, site_log
from quintain.federated.deployment.site_settings import ClientSettings


def run_daemon(settings: ClientSettings) -> None:
    """Run a site's daemon until it is interrupted (``KeyboardInterrupt``), which ends it cleanly.

    A daemon that was killed goes on from its state: it has dropped out of the round that it was in, and
    trains in the next one.

    Raises:
        QuintainError: If something is missing or wrong, in particular if the plan is not the one that this
            site has approved, before any message is answered.
        StorageError: If another daemon uses the site's folders or its socket.
    """
    state = private_folder(settings.state)
    journal = private_folder(settings.journal, forbidden=MAY_WRITE)
    with used_alone(state), used_alone(journal), site_log(state) as log:
        identity, roster = settings.members()
        file = PlanFile.load(settings.plan)
        # the model's program runs only if it is the one that was approved
        known = file_terms(file, roster)
        require_approved(settings, known)
        deployment = settings.deployment(file, roster)
        require_approved(settings, {**known, **net_terms(deployment)})
        client = settings.client(deployment, identity)
        listening = listen(settings.socket)
        try:
            after = f", after round {client.last_index + 1}" if client.last_counter >= 0 else ""
            log.info("%s: ready at %s%s", ascii(client.name), settings.socket, after)
            serve_daemon(LoggedClient(client, log).handle, listening)
        except KeyboardInterrupt:
            log.info("%s: stopped", ascii(client.name))
        finally:
            listening.close()
            settings.socket.unlink(missing_ok=True)
