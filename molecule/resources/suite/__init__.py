"""Runs lint, Python tests, scenarios and the drill, and counts what was run and what was not."""
