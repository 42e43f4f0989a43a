"""A standby takes its primary's place: examined, the primary fenced, its last record replayed, then promoted.

``end`` says where a primary's WAL ends, ``fence`` keeps that primary from ever taking orders again; both work on its
host. ``look`` and ``promote`` work on the standby's. What crosses from one to the other is one JSON document
(:class:`pgdr.standby.end.PrimaryEnd`); a play carries it, or a person.
"""
