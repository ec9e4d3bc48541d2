"""`make demo`: both example services, a client's session with them, and what an operator sees of it.

>>> from examples.demo.session import EXPECTED
>>> EXPECTED["no credentials"]
'UNAUTHENTICATED'
"""
