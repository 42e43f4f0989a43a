"""What the backup store costs each month, from a policy and a dated price table."""
