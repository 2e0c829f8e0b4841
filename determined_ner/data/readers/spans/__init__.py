"""Text annotated by spans of characters, in the formats of annotation tools; ``words`` makes words and tags of it."""
