"""How results are shown: one file for each type of result, with its ``PRESENTATION``.

A presentation gives the result's title, summary, tables, and blocks of the page.
"""
