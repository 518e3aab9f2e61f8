"""Commands name the options that they share, and find what they said in their call."""

from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest

from quintain.cli.call import VerbCall
from quintain.cli.commands import COMMANDS
from quintain.cli.commands.command import CALL, Command
from quintain.cli.options import MODEL, OUT, REQUIRE

FIELDS = {one.name for one in fields(VerbCall)}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_shared_option_is_a_field_of_the_call(command):
    shared = {one.name for one in (*command.before, *command.after)}
    assert shared <= FIELDS
    assert not shared or CALL in signature(command.run).parameters


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_no_option_of_a_command_is_declared_twice(command):
    names = [one.name for one in command.options]
    assert len(set(names)) == len(names)
    assert CALL not in names


def test_a_command_gets_its_own_options_and_its_call():
    def run(call: VerbCall, size: int = 1, *, deep: bool = False) -> int:
        assert (call.model, call.require, call.out) == ("net.py:make", ("epsilon <= 3",), Path("r"))
        assert call.weights is None
        return size + deep

    command = Command("try", run, "Try.", ("", ""), before=(MODEL,), after=(REQUIRE, OUT))
    assert [one.name for one in command.options] == ["model", "size", "deep", "require", "out"]
    given = {"model": "net.py:make", "require": ["epsilon <= 3"], "out": Path("r"), "size": 4, "deep": True}
    assert command(VerbCall.of("try", given), given) == 5
