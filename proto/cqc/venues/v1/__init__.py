"""Venues, what they list, and the accounts, orders and balances there.

>>> from cqc.venues.v1.order_pb2 import ORDER_SIDE_BUY, ORDER_TYPE_LIMIT, Order
>>> order = Order(side=ORDER_SIDE_BUY, order_type=ORDER_TYPE_LIMIT, quantity=1.5, price=100.0)
>>> order.HasField("stop_price")
False
"""
