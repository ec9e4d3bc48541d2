"""Identifiers: the ids that assets, instruments and markets have in outside systems.

The messages are in the subpackage of their version.

>>> from cqc.identifiers.v1 import identifier_pb2
>>> identifier_pb2.DESCRIPTOR.package
'cqc.identifiers.v1'
"""
