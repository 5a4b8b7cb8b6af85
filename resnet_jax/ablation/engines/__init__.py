"""Where the shares of a sweep run, beside this machine; each file is a thin adapter."""
