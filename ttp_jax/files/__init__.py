"""What is kept in files: checkpoints, PyTorch's weights, predictions."""
