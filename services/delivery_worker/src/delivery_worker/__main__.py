"""The command mailboat-delivery-worker, also `python -m delivery_worker`."""

from mailboat_common.launch import launch


def main() -> None:
    """The process's entry."""
    launch("delivery_worker.main")


if __name__ == "__main__":
    main()
