"""The echo service, with a method of each kind, and an event whose handler ends as the event says.

>>> from cqi.testing.v1.echo_pb2 import OUTCOME_ABORT, EchoRequest
>>> request = EchoRequest(text="hello", outcome=OUTCOME_ABORT, code="NOT_FOUND")
>>> request.HasField("count")
False
"""
