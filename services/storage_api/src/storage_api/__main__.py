"""`python -m storage_api`."""

from .main import main

main()
