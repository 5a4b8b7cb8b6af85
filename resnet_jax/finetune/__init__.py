"""Starting from weights, and training only a part of a network."""
