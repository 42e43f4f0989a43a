"""What endangers a recovery and is not on this host's own disk: replica, escrow, certificates, standbys and slots.

``far`` asks buckets and servers, at each ``pgdr watch``, and keeps what it found: a status must answer at once. The
others are what is asked: ``replication``, ``escrow``, ``certificates``. ``standbys`` asks the local server, each time.
"""
