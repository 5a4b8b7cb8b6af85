"""Configs: each file's `get_config` returns all fields; `default.py` lists them."""
