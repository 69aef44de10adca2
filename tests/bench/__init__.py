"""The benchmark: `make bench`, `make bench-quick`. No test: pytest collects nothing here.

A figure by itself says little on a machine that others share, so everything is a ratio of what was
measured in turns, in one run, warmed up; the ratio is the median of those of the single turns.
"""
