"""From labelled files of many formats to one stream of sentences; ``open`` is the way in."""
