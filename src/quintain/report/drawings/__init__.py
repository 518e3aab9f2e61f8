"""Drawings as SVG: bars of brackets and charts, read on the width of a phone."""
