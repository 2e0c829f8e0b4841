"""``python3 -m determined_ner VERB`` is ``determined-ner VERB``."""

import sys

from determined_ner.interrupts import die_of_interrupt, end_at_interrupt
from determined_ner.threads import spin_briefly


def main() -> int:
    """The command of a process of its own; see `determined_ner.cli.main`."""
    end_at_interrupt()
    spin_briefly()
    from determined_ner import cli  # with Ctrl-C in mind

    try:
        return cli.main()
    finally:
        die_of_interrupt()


if __name__ == "__main__":
    sys.exit(main())
