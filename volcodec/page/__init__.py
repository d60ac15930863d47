"""Pages on which a volume is turned in 3-D and leafed through: one HTML file each."""

from volcodec.page.writing import write

__all__ = ["write"]
