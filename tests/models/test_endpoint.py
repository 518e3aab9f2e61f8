"""Endpoints as values and as files, and answers on disk."""

import numpy as np
import pytest

from quintain.core.errors import ModelError, NotFoundError, SettingError, StorageError
from quintain.models import Endpoint, load_model, read_endpoint
from quintain.models.query_cache import QueryCache

URL = "http://127.0.0.1:1/classify"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "127.0.0.1:80"}, "expected http://host:port/path"),
        ({"body": {"a": 1}}, r"expected exactly one of \{x\}, \{xs\}, \{png\}"),
        ({"body": ["{x}", "{xs}"]}, "expected exactly one of"),
        ({"access": "gradients"}, "expected 'labels' or 'scores'"),
        ({"batch_size": 0}, "batch_size = 0; expected at least 1"),
        ({"retries": -1}, "retries = -1"),
        ({"query_budget": 0}, "query_budget = 0"),
        ({"requests_per_second": 0}, "requests_per_second = 0; expected a positive number"),
        ({"timeout": -1.0}, "timeout"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        Endpoint(**{"url": URL, **settings})


def test_the_hash_is_of_the_address_and_the_way_of_asking_and_not_of_keys_or_pace():
    plain = Endpoint(URL).hash
    assert (
        Endpoint(
            URL, headers={"Authorization": "secret"}, requests_per_second=1.0, query_budget=3, retries=0
        ).hash
        == plain
    )
    others = [
        Endpoint(f"{URL}2"),
        Endpoint(URL, response_path="a"),
        Endpoint(URL, body={"x": "{x}"}),
        Endpoint(URL, access="labels"),
    ]
    assert len({plain, *(other.hash for other in others)}) == 5


def test_a_file_says_all_of_it(tmp_path):
    path = tmp_path / "endpoint.toml"
    lines = (
        f'url = "{URL}"',
        'response_path = "results.0.label"',
        'access = "labels"',
        'class_names = ["cat", "dog"]',
        "requests_per_second = 2.5",
        'cache = "kept.sqlite"',
        '[body]\nimage = "{x}"\n[headers]\nAuthorization = "Bearer ${KEY}"\n',
    )
    path.write_text("\n".join(lines))
    assert read_endpoint(path) == Endpoint(
        URL,
        body={"image": "{x}"},
        response_path="results.0.label",
        access="labels",
        class_names=("cat", "dog"),
        headers={"Authorization": "Bearer ${KEY}"},
        requests_per_second=2.5,
        cache=tmp_path / "kept.sqlite",
    )
    path.write_text(f'url = "{URL}"\nclass_names = ["cat", "dog"]\n')
    assert load_model(str(path)).num_classes == 2


def test_a_file_with_the_keys_of_earlier_versions_is_read(tmp_path):
    path = tmp_path / "endpoint.toml"
    path.write_text(
        f'url = "{URL}"\nanswer = "a"\nnames = ["cat", "dog"]\nbatch = 3\nrate = 2.5\nbudget = 7\n'
    )
    assert read_endpoint(path) == Endpoint(
        URL,
        response_path="a",
        class_names=("cat", "dog"),
        batch_size=3,
        requests_per_second=2.5,
        query_budget=7,
    )


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("url = ", SettingError, "is no TOML file"),
        ('answer = "a"', SettingError, "has no url; expected url, and of body, response_path"),
        (f'url = "{URL}"\nretry = 3', SettingError, "does not know retry"),
    ],
)
def test_a_file_that_says_something_else(tmp_path, text, error, message):
    path = tmp_path / "endpoint.toml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_endpoint(path)
    with pytest.raises(NotFoundError, match="there is no file"):
        read_endpoint(tmp_path / "absent.toml")


def test_a_path_leads_through_objects_and_lists():
    endpoint = Endpoint(URL, body={"x": "{x}"}, response_path="results.1.scores")
    assert endpoint.parse_response({"results": [{}, {"scores": [1, 0.5]}]}, 1) == [[1.0, 0.5]]
    assert Endpoint(URL, response_path="").parse_response([[0.1, 0.9], [0.2, 0.8]], 2) == [
        [0.1, 0.9],
        [0.2, 0.8],
    ]
    for told in ({"results": []}, {"results": "abc"}, {"results": {"0": 1}}, None):
        with pytest.raises(ModelError, match=r"has nothing at 'results\.1\.scores'"):
            endpoint.parse_response(told, 1)


@pytest.mark.parametrize("label", [True, 1.5, None, "dog"])
def test_what_is_no_label(label):
    with pytest.raises(ModelError, match="expected a whole number"):
        Endpoint(URL, body="{x}", response_path="", access="labels").parse_response(label, 1)


def test_an_input_is_known_by_every_bit_by_its_shape_and_by_who_was_asked():
    x = np.zeros((1, 2, 3), np.float32)
    answers = QueryCache(None, "somebody")
    other = x.copy()
    other[0, 0, 0] = 1e-45
    questions = [
        answers.key(x),
        answers.key(other),
        answers.key(x.reshape(1, 3, 2)),
        QueryCache(None, "else").key(x),
    ]
    assert len(set(questions)) == 4
    assert answers.key(x.copy()) == questions[0]


@pytest.mark.parametrize("scores", [[True, False], ["0.1", "0.9"], [None, None], [0.5, True]])
def test_what_is_no_number_is_no_score(scores):
    with pytest.raises(ModelError, match="expected a list with a number for each class"):
        Endpoint(URL).parse_response({"scores": [scores]}, 1)


def test_answers_are_found_again_by_another_reader(tmp_path):
    path = tmp_path / "answers.sqlite"
    QueryCache(path, "a").store({"q": [0.1, 1e-300], "r": 3})
    again = QueryCache(path, "a")
    assert again.lookup(["r", "q", "s", "r"]) == {"q": [0.1, 1e-300], "r": 3}
    assert len(again) == 2


def test_a_file_that_is_something_else_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a table, and long enough to be looked at " * 9)
    with pytest.raises(StorageError, match=r"cannot keep answers in .*notes.txt"):
        QueryCache(path, "a")
    assert path.read_text().startswith("not a table")
