"""The paper's tables and its neighbours: rows, a queue that makes them, and RESULTS.md of them.

One-way: rows -> tasks -> queue -> measure -> records -> statistics -> figures, document.
"""
