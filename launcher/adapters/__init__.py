"""The private names of other libraries that the launcher uses, one module a library.

What a library does not promise may change with any version of it. So nothing else here touches such a name; each use
says at which version it was read, and a test in tests/adapters/ says when it has changed.
"""
