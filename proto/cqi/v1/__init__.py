"""Dead letters: events that a service has given up on.

>>> from cqi.v1.dead_letter_pb2 import DeadLetter
>>> letter = DeadLetter(subject="cqc.events.v1.asset_created", payload=b"not protobuf", reason="cannot be decoded")
>>> letter.headers["Nats-Msg-Id"] = "7f3c"
>>> letter.dead_lettered_at.GetCurrentTime()
>>> letter.HasField("first_delivered_at")
False
"""
