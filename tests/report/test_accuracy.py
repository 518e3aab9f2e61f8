"""Accuracies in words."""

import pytest

from quintain.report.accuracy import accuracy_text, balanced_text, class_cells
from quintain.results.class_counts import ClassCounts


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (ClassCounts((5, 0), (5, 5)), "50.0 %"),
        (ClassCounts((5, 0), (5, 0)), "100.0 % over 1 of 2 classes"),
        (ClassCounts((5, 5, 0), (5, 10, 0)), "75.0 % over 2 of 3 classes"),
    ],
)
def test_a_balanced_accuracy_says_over_how_many_classes_it_is_where_some_have_no_example(counts, text):
    assert balanced_text(counts) == text
    assert accuracy_text(counts).endswith(f"balanced {text}")
    assert class_cells(counts)[0].text == text
