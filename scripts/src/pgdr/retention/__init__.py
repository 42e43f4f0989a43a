"""Which copies stay and which go: a pure plan, and the hands that carry it out."""
