"""Listening to a training program: what it does becomes a `Run` and tapes.

`listener` decides when to look in detail; one ear each follows models, loaders, backwards, optimisers, clipping and
schedules. Nothing here changes a result, and an exception of ours never reaches the program.
"""
