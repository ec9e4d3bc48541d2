"""Assets, their chains and deployments, how they relate, and what is wrong with them.

The messages are in the subpackage of their version.

>>> from cqc.assets.v1 import asset_pb2
>>> asset_pb2.DESCRIPTOR.package
'cqc.assets.v1'
"""
