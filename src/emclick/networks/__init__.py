"""The networks, in PyTorch (extra `torch`): base networks, template selection, mask correction."""
