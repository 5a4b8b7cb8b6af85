"""Published weights: files of PyTorch's networks become workdirs, and workdirs such files."""
