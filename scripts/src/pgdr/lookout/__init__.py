"""What endangers a recovery and is not on this host's own disk: replica, escrow, certificates, standbys and slots.

``far`` asks buckets and servers, at each ``pgdr watch``, and keeps what it found (``kept``): a status must answer at
once. ``replication``, ``escrow`` and ``certificates`` are what is asked; ``standbys`` asks the local server, each time.
"""
