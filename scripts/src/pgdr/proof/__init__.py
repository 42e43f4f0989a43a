"""Is what we have worth anything: marks, holes, ages, and the verdict on them."""
