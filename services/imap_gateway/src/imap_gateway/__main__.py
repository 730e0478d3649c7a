"""The command mailboat-imap-gateway, also `python -m imap_gateway`."""

from mailboat_common.launch import launch


def main() -> None:
    """The process's entry."""
    launch("imap_gateway.main")


if __name__ == "__main__":
    main()
