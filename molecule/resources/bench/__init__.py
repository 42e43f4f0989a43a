"""Benchmarks: our way beside the bare tools and the requirement's scripts, measured in one run on one lab."""
