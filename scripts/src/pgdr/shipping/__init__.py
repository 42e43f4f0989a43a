"""Chains of entries that leave the host: each entry an object in the locked bucket.

``copy`` is what every chain shares (the erasure ledger's is :mod:`pgdr.surgery.shipping`), ``machine`` says which host
this is, ``journal`` compares the journal with its copy and brings it back, ``check`` tells the status.
"""
