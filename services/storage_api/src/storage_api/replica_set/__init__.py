"""The process beside each mongod in Kubernetes: makes the replica set and its users, and keeps them as wanted.

It shares the distribution of storage_api for the driver, and imports nothing else of it.
"""
