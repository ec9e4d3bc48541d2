"""Instruments and markets, their prices, order books, trades and liquidity.

The messages are in the subpackage of their version.

>>> from cqc.markets.v1 import market_pb2
>>> market_pb2.DESCRIPTOR.package
'cqc.markets.v1'
"""
