"""Events: what a service publishes when something has happened.

The messages are in the subpackage of their version.

>>> from cqc.events.v1 import asset_events_pb2
>>> asset_events_pb2.DESCRIPTOR.package
'cqc.events.v1'
"""
