"""Bring a cluster back: plan, restore the files, replay to an explicit target, promote, prove.

The order of layers inside: ``target`` and ``model`` know nothing of the host; ``walend``, ``inspect`` and
``server`` look at one thing each; ``plan`` refuses or decides; ``run`` does; ``verify`` proves.
"""
