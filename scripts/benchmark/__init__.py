"""bertserve and others that serve the same model, measured side by side.

run           arguments, rounds, and what is written
workloads     the texts, the same ones in the same order at every run
servers       how each server is set up, started, and spoken to
peers/        the servers of others: one small file and its pinned packages each
environments  a virtual environment for each of those
processes     start and end a server; what it uses of CPU and memory
load          wrk, and what it found
checking      no server is measured while it answers wrongly
engine        the classifier alone, against the rate of matrix products
machine       on what was measured, and with which versions
report        medians, tables, the plot, and docs/performance.md
"""
