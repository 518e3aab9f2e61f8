"""Universal perturbations: patches, stickers, glasses and light, fitted on some images.

They are measured on others.
"""
