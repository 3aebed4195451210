"""Where a run goes that does not stay on this machine: one file an engine.

An engine is a node of `conf/cluster/` whose `pool(slots)` is a `Pool`: submit a folder, poll, cancel. The folder is
all that it is told: the finished config stands in it, and everything that comes of it too.
"""
