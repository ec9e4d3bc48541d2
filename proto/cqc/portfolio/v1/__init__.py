"""Portfolios with their positions, transactions, exposure and profit.

>>> from cqc.portfolio.v1.transaction_pb2 import TRANSACTION_TYPE_BUY, Transaction, TransactionType
>>> bought = Transaction(type=TRANSACTION_TYPE_BUY, quantity=2.0, price=100.0)
>>> TransactionType.Name(bought.type)
'TRANSACTION_TYPE_BUY'
"""
