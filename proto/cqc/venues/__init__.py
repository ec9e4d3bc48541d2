"""Venues, what they list, and the accounts, orders and balances there.

The messages are in the subpackage of their version.

>>> from cqc.venues.v1 import venue_pb2
>>> venue_pb2.DESCRIPTOR.package
'cqc.venues.v1'
"""
