"""Universal perturbations: patches, stickers, glasses light, fitted on some images, scored on others."""
