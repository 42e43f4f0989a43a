"""A repository in a bucket after somebody with stolen credentials was at it.

history     every version of every object: what it was at any moment
suspects    what pgBackRest itself never does: pure judgement
examine     the question asked of bucket and engine: since when, and what was good before
rebuild     the state of a moment made current again, by copies of versions on the server
"""
