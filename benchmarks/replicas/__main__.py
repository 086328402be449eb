"""Runs `python -m benchmarks.replicas`."""

from benchmarks.replicas.campaign import main

# Processes that are forked for a service import this module again.
if __name__ == "__main__":
    main()
