"""The load generator: business transactions, each written down before it commits."""
