"""Pulumi components. Secure properties are constants in them, not options."""
