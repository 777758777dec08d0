"""Files of events, from a till, a CRM or an app: read, checked, stored, and resumed.

A line is one event, read like one that is tracked. Lines are read in batches by a thread, so that
the event loop stays free for the sender, and memory holds one batch whatever the file's size. A
batch goes to the outbox first and into the progress file after that: an interruption in between
repeats a batch. The outbox refuses its keys for 48 hours, since a line's event id does not change.
"""

from bridge.imports.importer import Importer
from bridge.imports.progress import ProgressFile, Tally
from bridge.imports.rejects import Rejects
from bridge.imports.source import Source

__all__ = ["Importer", "ProgressFile", "Rejects", "Source", "Tally"]
