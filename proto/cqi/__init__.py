"""The chassis' own protobuf messages: what its services leave on the bus for people and tools to find.

>>> from cqi.v1.dead_letter_pb2 import DeadLetter
>>> letter = DeadLetter(event_type="asset_created", code="INVALID_ARGUMENT", deliveries=1)
>>> DeadLetter.FromString(letter.SerializeToString()).code
'INVALID_ARGUMENT'
"""
