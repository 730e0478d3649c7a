"""The command mailboat-smtp-ingress, also `python -m smtp_ingress`."""

from mailboat_common.launch import launch


def main() -> None:
    """The process's entry."""
    launch("smtp_ingress.main")


if __name__ == "__main__":
    main()
