"""When did it happen? Search archived WAL for the transaction that deleted, changed, emptied or dropped something.

The layers inside, one way: ``records`` reads pg_waldump's lines of a few segments, in a process of its own;
``segments`` knows which archived segments lead through a stretch of time; ``scan`` reads them in parallel and gives
the results in order; ``collect`` puts transactions together; ``names`` knows which file was which table; ``find``
answers the question.
"""
