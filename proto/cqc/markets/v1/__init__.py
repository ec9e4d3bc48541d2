"""Instruments and markets, their prices, order books, trades and liquidity.

>>> from cqc.markets.v1.orderbook_pb2 import OrderBook
>>> book = OrderBook(market_id="7f3c")
>>> level = book.bids.add(price=100.5, quantity=2.0)
>>> len(book.bids), len(book.asks)
(1, 0)
"""
