"""ONNX files as plain ``torch.nn.Module``, for what reads layers: certificates and properties."""
