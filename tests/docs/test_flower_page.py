"""``docs/coming-from-flower.md``: the site's file that it shows is one, and its figures of size hold."""

import re
from pathlib import Path

from quintain.federated.enrollment import save_roster
from quintain.federated.flower.site import OPTIONAL_KEYS, REQUIRED_KEYS, SiteSettings
from quintain.federated.secagg import Identity, Roster

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/coming-from-flower.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(
    r"((?:^    .*\n)+)", PAGE.split("`site.toml`, each site's own")[1].split("and its SuperNode")[0], re.M
)


def test_the_file_of_a_site_is_one_and_names_every_key(tmp_path):
    text = re.sub(r"^    ", "", BLOCK, flags=re.M)
    names = tuple(f"hospital-{letter}" for letter in "abcde")
    identities = [Identity.create(name) for name in names]
    save_roster(tmp_path / "roster.toml", Roster.from_identities(*identities), identities)
    (tmp_path / "site.toml").write_text(text)
    site = SiteSettings.load(tmp_path / "site.toml")
    assert site.identity_file == tmp_path / "identity.toml"
    assert site.journal == Path("/var/lib/quintain")
    assert (site.terms.threshold, site.terms.roster.names) == (4, names)
    named = set(re.findall(r"^(?:# )?(\w+) = ", text, re.M))
    assert named == (REQUIRED_KEYS | OPTIONAL_KEYS) - {"scale"}


def test_the_examples_that_it_names_are_there():
    named = re.findall(r"`(examples/\w+\.py)`", PAGE)
    assert len(named) == 2
    assert all((ROOT / name).exists() for name in named)
