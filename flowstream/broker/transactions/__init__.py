"""Transactions: one state per transactional id, folded from `__transaction_state`."""
