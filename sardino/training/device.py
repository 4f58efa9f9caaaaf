"""The device that a run uses."""

import torch


def best_device() -> torch.device:
    """A CUDA GPU if there is one, else Apple's, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
