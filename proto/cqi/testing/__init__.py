"""A service and an event with which interceptors, clients and handlers are tested.

>>> from cqi.testing.v1 import echo_pb2
>>> [service for service in echo_pb2.DESCRIPTOR.services_by_name]
['EchoService']
"""
