"""One verb a file; what is heavy is imported when the verb runs."""

from quintain.cli.verbs import attack, audit, certify, check, compare, drill, federate, harden, leak, listing, privatize, report
from quintain.cli.verbs.verb import Verb

ALL: tuple[Verb, ...] = (
    drill.VERB,
    check.VERB,
    attack.VERB,
    harden.VERB,
    certify.VERB,
    privatize.VERB,
    audit.VERB,
    leak.VERB,
    federate.VERB,
    report.VERB,
    compare.VERB,
    listing.VERB,
)
