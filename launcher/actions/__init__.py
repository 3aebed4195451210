"""One module an action: `action=NAME` is `NAME.py`, and its `act(config, folder, resumed)` does it.

`config` is the checked config of the command, `folder` the one that its run would have, `resumed` whether that run has
begun before. `act` returns the exit status, and raises ConfigError for what cannot be done. There is no list: an action
is there because its module is.
"""
