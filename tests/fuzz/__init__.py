"""Commands on whatever may lie there: odd settings and command lines, damaged models, runs and caches.

    python -m tests.fuzz --cases 20000 --seed 1
    python -m tests.fuzz --case 1:4711            # one of them again, with all that it says; its folder stays

One process imports everything and makes a tiny run; each case is a copy of that process (a fork), in a folder of its
own.
"""
