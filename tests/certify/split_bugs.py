"""Planted bugs of a function that splits a part in two: one half is lost, and the other stands for it."""

from dataclasses import replace


def lost_halves(split, label):
    """Two wrong splits: the first half comes twice; and it comes as the second half, by its ``label``."""

    def one_half(whole):
        first, _ = split(whole)
        return first, first

    def wrong_half(whole):
        first, second = split(whole)
        return replace(first, **{label: getattr(second, label)}), second

    return one_half, wrong_half
