"""How many sums a CPU's registers hold while products are added to them, where it can be read without Numba."""

ROWS, COLUMNS = 6, 32
