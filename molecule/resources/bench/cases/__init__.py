"""The cases: each measures two things side by side."""
