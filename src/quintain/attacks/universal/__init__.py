"""Universal perturbations: patches, stickers, glasses and light, fitted on some images and measured on
others.
"""
