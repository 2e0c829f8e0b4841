"""The task as pure functions: tag schemes, entities, counts, scores, without files, torch or Determined.

For users of Determined's earlier example, whose functions stood in a module of this name; their home is
``determined_ner.tags``.
"""

from determined_ner.tags.entities import *  # noqa: F403
