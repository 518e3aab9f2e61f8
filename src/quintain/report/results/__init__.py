"""One file for each type of result, with its ``PRESENTATION``.

Title, summary, tables, and blocks of the page.
"""
