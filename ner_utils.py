"""The task as pure functions: tag schemes, labels, entities, counts, scores; without files, torch or Determined.

For users of Determined's earlier example, whose functions stood in a module of this name; their home is
``determined_ner.tags``.
"""

from determined_ner.tags.decoding import allowed_transitions, best_tags
from determined_ner.tags.entities import Spans, TagTable, entity_spans
from determined_ner.tags.labels import Labels, label_list, label_scheme
from determined_ner.tags.schemes import Scheme, bad_tags, detect_scheme, from_iob2, split_tag, to_iob2
from determined_ner.tags.scores import EntityCounts, count_entities, evaluate, scores

__all__ = [
    "EntityCounts",
    "Labels",
    "Scheme",
    "Spans",
    "TagTable",
    "allowed_transitions",
    "bad_tags",
    "best_tags",
    "count_entities",
    "detect_scheme",
    "entity_spans",
    "evaluate",
    "from_iob2",
    "label_list",
    "label_scheme",
    "scores",
    "split_tag",
    "to_iob2",
]
