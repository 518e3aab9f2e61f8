"""One file for each type of result, with its ``PRESENTATION``: title, summary, tables, and blocks of the
page.
"""
