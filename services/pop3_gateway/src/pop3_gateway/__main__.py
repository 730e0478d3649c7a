"""The command mailboat-pop3-gateway, also `python -m pop3_gateway`."""

from mailboat_common.launch import launch


def main() -> None:
    """The process's entry."""
    launch("pop3_gateway.main")


if __name__ == "__main__":
    main()
