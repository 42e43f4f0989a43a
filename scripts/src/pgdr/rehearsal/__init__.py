"""Restores that are made to be looked at and thrown away: newest backup, a moment of the past, newest archive."""
