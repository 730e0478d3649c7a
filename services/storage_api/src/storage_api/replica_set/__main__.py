"""`python -m storage_api.replica_set`."""

from .main import main

main()
