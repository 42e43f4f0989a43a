"""The recovery kit: what a rebuild needs and git does not hold, packed into one object of the bucket."""
