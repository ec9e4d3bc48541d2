"""Portfolios with their positions, transactions, exposure and profit.

The messages are in the subpackage of their version.

>>> from cqc.portfolio.v1 import portfolio_pb2
>>> portfolio_pb2.DESCRIPTOR.package
'cqc.portfolio.v1'
"""
