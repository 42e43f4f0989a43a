"""Damaged data: what exactly, since when, and the smallest cure that can be proven.

The layers inside, one way: ``model`` says what a damage is and what cures its kind; ``checksum`` judges a page;
``files`` reads the data directory beside a running server, ``naming`` knows whose file it is; ``asked`` has the server
look at itself, ``control`` and ``wal`` look at what holds it together; ``backups`` says since when; ``evidence`` keeps
copies; ``examine`` is all of it. ``memory``, ``indexes``, ``maps``, ``blocks`` (``buffers`` has the server forget what
it has in memory) and ``cluster`` (with ``standin``, where the control file is lost) are a cure each; ``cure`` plans,
carries out and proves them.
"""
