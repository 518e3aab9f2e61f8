"""The page on a deployment's files: each key stands in its table, and its examples are read."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from quintain.federated import ClientNoise, Deadlines, FedAdam, FedProx, PersonalHead, SitePrivacy
from quintain.federated.deployment import (
    ClientSettings,
    ServerSettings,
    plan_file,
    server_settings,
    site_settings,
)
from quintain.federated.deployment.plan_file import PlanFile
from quintain.training import Recipe

PAGE = (Path(__file__).parents[2] / "docs/deployment-files.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\.toml\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = {name: re.findall(r"```toml\n(.*?)```", text, re.DOTALL) for name, text in SECTIONS.items()}
OF_FILE = {"plan": plan_file, "client": site_settings, "server": server_settings}


@pytest.mark.parametrize("name", OF_FILE)
def test_the_table_has_each_key_once_and_says_which_are_needed(name):
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", SECTIONS[name], re.MULTILINE))
    assert set(rows) == set(OF_FILE[name].KEYS)
    assert {key for key, default in rows.items() if default == "needed"} == set(OF_FILE[name].REQUIRED)


def test_the_tables_of_a_plan_have_their_fields_named():
    for kind in (Recipe, SitePrivacy, ClientNoise, FedProx, FedAdam, PersonalHead, Deadlines):
        text = SECTIONS["server" if kind is Deadlines else "plan"]
        assert all(re.search(rf"`{one.name}`|^{one.name} =", text, re.MULTILINE) for one in fields(kind))


def test_the_examples_are_read(tmp_path):
    usual, private, noise, strategy = EXAMPLES["plan"]
    for text, unit in ((usual, "record"), (usual.split("[recipe]")[0] + private, "patient")):
        (tmp_path / "plan.toml").write_text(text)
        plan = PlanFile.load(tmp_path / "plan.toml")
        assert (plan.shape, plan.class_names, plan.unit) == ((1, 64, 64), ("normal", "pneumonia"), unit)
    (tmp_path / "plan.toml").write_text(usual + noise + strategy)
    config = PlanFile.load(tmp_path / "plan.toml").config
    assert config.client_noise == ClientNoise(0.5, 1.0, max_dropped=20)
    assert config.strategy == FedProx(mu=0.1)
    for kind, name in ((ClientSettings, "client"), (ServerSettings, "server")):
        (example,) = EXAMPLES[name]
        (tmp_path / f"{name}.toml").write_text(example)
        assert kind.load(tmp_path / f"{name}.toml").plan == tmp_path / "plan.toml"
    assert ServerSettings.load(tmp_path / "server.toml").deadlines == Deadlines()
