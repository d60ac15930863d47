"""The .vc container: bytes, header, index and checksums (docs/format.md describes every byte).

Knows nothing of arrays, models or codings; needs only the standard library.
"""

from volcodec.container.front import MAGIC, MAJOR, MINOR, pack_header
from volcodec.container.header import CODINGS, DOMAINS, DTYPES, SUPPORTS, TARGETS, Header
from volcodec.container.index import TileEntry, TileIndex, stream_name
from volcodec.container.info import Info, describe
from volcodec.container.reader import FIRST_READ, Reader
from volcodec.container.sources import ByteSource, ReadsAt
from volcodec.container.writer import Writer, pack, packed_size

__all__ = [
    "CODINGS",
    "DOMAINS",
    "DTYPES",
    "FIRST_READ",
    "MAGIC",
    "MAJOR",
    "MINOR",
    "SUPPORTS",
    "TARGETS",
    "ByteSource",
    "Header",
    "Info",
    "Reader",
    "ReadsAt",
    "TileEntry",
    "TileIndex",
    "Writer",
    "describe",
    "pack",
    "pack_header",
    "packed_size",
    "stream_name",
]
