"""The past beside the present: a point in time restored as an instance of its own, for reading.

It stays in recovery, paused at its target: nothing can be written to it, whoever asks. It has its own folder, socket
and port, listens on no network, archives nothing and is removed when its time is over.

The layers inside, one way: ``model`` and ``store`` keep what is known of an instance; ``plan`` decides; ``run`` does
the work, as a process of its own; ``launch`` starts that process; ``manage`` lists and removes; ``borrowed`` is all of
it for a block of somebody's work.
"""
