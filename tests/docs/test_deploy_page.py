"""``docs/deploy.md``: its links, its commands' options, and the files of its example, which can be read."""

import re
import shutil
from pathlib import Path

from quintain.cli.commands import COMMANDS
from quintain.federated.deployment import ClientSettings, ServerSettings, load_plan
from quintain.federated.secagg import Identity, Roster

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples/deployment"


def test_links_and_options_exist():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert len(links) >= 5
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    known = {verb.name: {one.name for one in verb.options} for verb in COMMANDS}
    shown = [
        (verb, option.replace("-", "_"))
        for verb, rest in re.findall(r"^ {4}quintain (\w+)(.*)$", PAGE, re.M)
        for option in re.findall(r" --([a-z-]+)", rest)
    ]
    assert len(shown) >= 10
    assert [(verb, option) for verb, option in shown if option not in known[verb]] == []


def test_the_example_is_of_four_sites_of_which_one_may_drop_out_and_none_reads_anothers_update(tmp_path):
    identities = [Identity.create(f"hospital-{letter}") for letter in "abcd"]
    roster = Roster.from_identities(*identities)
    for name in ("plan.toml", "net.py"):
        shutil.copy(EXAMPLE / name, tmp_path)
    made = load_plan(tmp_path / "plan.toml", roster)
    assert (made.plan.threshold, made.plan.min_survivors, made.plan.config.rounds) == (3, 3, 5)
    assert made.plan.config.max_corrupt == 1
    # less the one that sides with the server, or the one that looks, two are left
    assert made.plan.min_survivors - 1 >= 2
    three = load_plan(tmp_path / "plan.toml", Roster.from_identities(*identities[:3])).plan
    assert three.min_survivors == 3
    (lines,) = re.findall(r"^ {4}(max_corrupt = \d)\n {4}(threshold = \d)$", PAGE, re.M)
    (tmp_path / "plan.toml").write_text("\n".join([*lines, (EXAMPLE / "plan.toml").read_text()]))
    trusting = load_plan(tmp_path / "plan.toml", Roster.from_identities(*identities[:3])).plan
    assert (trusting.min_survivors, trusting.config.max_corrupt) == (2, 0)


def test_the_settings_of_a_site_and_of_the_server_can_be_read_and_name_the_same_plan():
    site, server = ClientSettings.load(EXAMPLE / "client.toml"), ServerSettings.load(EXAMPLE / "server.toml")
    assert (site.plan, site.roster) == (server.plan, server.roster)
    assert site.socket == Path("/run/quintain/socket")
    assert server.deadlines.gather == 300
    units = "".join(path.read_text() for path in sorted(EXAMPLE.glob("*.service")))
    for place in (site.socket, site.path.name, "superlink.db", "node"):
        assert str(place) in units


def test_the_units_run_the_commands_of_the_page():
    joined = PAGE.replace("\\\n        ", "")
    for path in EXAMPLE.glob("*.service"):
        (command,) = re.findall(
            r"^ExecStart=/opt/quintain/bin/(.*)$", path.read_text().replace("\\\n    ", ""), re.M
        )
        assert f"    {command}\n" in joined
