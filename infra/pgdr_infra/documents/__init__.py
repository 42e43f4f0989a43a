"""Policy documents as plain values: pure functions, no resource, no secret."""
