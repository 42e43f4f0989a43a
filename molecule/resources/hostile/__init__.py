"""Hostile schemas: what real ERPs look like after fifteen years, made at random for property-based tests.

``spec`` draws a schema (hypothesis), ``ddl`` writes it down as SQL, ``rows`` fills it for several tenants and keeps the
truth about who owns what, ``damage`` makes the accident.
"""
