"""Tell people: failures at once, their end, a digest; and tell a stranger that we are still here."""
