"""A site's daemon: it trains while its plan is approved, answers on its socket, and logs there alone."""

import logging

from quintain.federated.daemon import listen, serve_daemon
from quintain.federated.deployment.approval import (
    file_terms,
    net_terms,
    require_approved,
    require_still_approved,
)
from quintain.federated.deployment.folders import MAY_WRITE, lock_folder, private_folder
from quintain.federated.deployment.own_facts import spent_in_all
from quintain.federated.deployment.own_journal import bind_journal, require_own_journal
from quintain.federated.deployment.plan_file import PlanFile
from quintain.federated.deployment.site_log import LoggedClient, site_log
from quintain.federated.deployment.site_settings import ClientSettings
from quintain.federated.roster_versions import accept_roster


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
    private_folder(settings.journal, forbidden=MAY_WRITE)
    # daemons of several federations have one journal, and each its own folder of accepted rosters in it
    accepted = private_folder(settings.accepted, forbidden=MAY_WRITE)
    with lock_folder(state), lock_folder(accepted), site_log(state) as log:
        site = start_site(settings, log)
        listening = listen(settings.socket)
        client, name = site.client, ascii(site.client.name)
        try:
            after = f", after round {client.last_index + 1}" if client.last_counter >= 0 else ""
            log.info("%s: ready at %s%s", name, settings.socket, after)
            serve_daemon(site.handle, listening)
        except KeyboardInterrupt:
            log.info("%s: stopped", name)
        finally:
            listening.close()
            settings.socket.unlink(missing_ok=True)


def start_site(settings: ClientSettings, log: logging.Logger) -> LoggedClient:
    """Return the client of the plan that a site has approved; it takes tasks while the approval stands.

    Raises:
        QuintainError: As ``run_daemon``.
    """
    require_own_journal(settings)
    identity, roster = settings.members()
    file = PlanFile.load(settings.plan)
    # the model's program runs only if it is the one that was approved
    known = file_terms(file, roster)
    require_approved(settings, known)
    deployment = settings.deployment(file, roster)
    terms = {**known, **net_terms(deployment)}
    require_approved(settings, terms)
    accept_roster(settings.roster, settings.accepted, identity)
    bind_journal(settings)
    client = settings.client(deployment, identity)
    return LoggedClient(
        client,
        log,
        check_task=lambda: require_still_approved(settings, terms, roster),
        spent_in_all=lambda: spent_in_all(settings, deployment, client.ledger.releases[-1]),
    )
