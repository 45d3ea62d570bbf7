"""The site loads nothing from elsewhere: it reads the same without a network, and unobserved."""

import logging
import re

from mkdocs.structure.pages import Page

# Links that a reader may follow are no such thing.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)"""
)
_logger = logging.getLogger("mkdocs.plugins.nothing_from_elsewhere")


def on_post_page(output: str, page: Page, **_: object) -> str:
    """Warns, which fails a strict build."""
    for address in _LOADED.findall(output):
        _logger.warning("%s would load %s", page.file.src_uri, address)
    return output
