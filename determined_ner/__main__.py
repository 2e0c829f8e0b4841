"""``python3 -m determined_ner VERB`` is ``determined-ner VERB``."""

import sys

from determined_ner.cli import main

sys.exit(main())
