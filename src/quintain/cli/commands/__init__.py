"""The commands of the command line, one a file; what is heavy is imported when a command runs."""

from quintain.cli.commands import (
    attack,
    audit,
    certify,
    check,
    client,
    compare,
    drill,
    enroll,
    evaluate,
    federate,
    gate,
    harden,
    leak,
    listing,
    privatize,
    replay,
    report,
    schema,
)
from quintain.cli.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    drill.VERB,
    check.VERB,
    evaluate.VERB,
    attack.VERB,
    replay.VERB,
    harden.VERB,
    certify.VERB,
    privatize.VERB,
    audit.VERB,
    leak.VERB,
    federate.VERB,
    enroll.VERB,
    client.VERB,
    report.VERB,
    gate.VERB,
    compare.VERB,
    listing.VERB,
    schema.VERB,
)
