"""Attacks beside the peers' on the same model and points; real data and models are read from the folder that
QUINTAIN_SHARED names.
"""
