"""The command mailboat-replica-set, also `python -m storage_api.replica_set`."""

from mailboat_common.launch import launch


def main() -> None:
    """The process's entry."""
    launch("storage_api.replica_set.main")


if __name__ == "__main__":
    main()
