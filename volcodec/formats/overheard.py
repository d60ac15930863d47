"""What a library logs where it does not raise: to be judged, and not to be printed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def overheard(name: str) -> Iterator[list[logging.LogRecord]]:
    """Yield the records that this thread gives the logger `name`; they go no further."""
    said: list[logging.LogRecord] = []
    thread = threading.get_ident()

    def catch(record: logging.LogRecord) -> bool:
        if record.thread == thread:
            said.append(record)
        return record.thread != thread

    logger = logging.getLogger(name)
    logger.addFilter(catch)
    try:
        yield said
    finally:
        logger.removeFilter(catch)
