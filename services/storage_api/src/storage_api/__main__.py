"""The command mailboat-storage-api, also `python -m storage_api`."""

from mailboat_common.launch import launch


def main() -> None:
    """The process's entry."""
    launch("storage_api.main")


if __name__ == "__main__":
    main()
