"""One file a data set; the file's name is the name in configs, its `DATASET` the description."""
