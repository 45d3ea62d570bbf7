"""Reads forms with photographs and fields, and limits their number and size."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from email.message import Message

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import Request

from sigrl.service.errors import ContentTypeError, RequestError, RequestTooLargeError, StorageFullError
from sigrl.service.http.content import media_type

FORM = "multipart/form-data"
_FORM_WITHOUT_FILES = "application/x-www-form-urlencoded"
# 20,000 labels in one field take less than half of this.
_MAX_FIELD_BYTES = 8 * 1024 * 1024
# A form without files has only a few options.
_MAX_URL_ENCODED_BYTES = 64 * 1024
# Parsing this much of the smallest parts takes a millisecond.
_SLICE_BYTES = 4 * 1024
_TURN_SECONDS = 0.001
"""After so much parsing, other requests get their turn. An answer of theirs takes many turns."""
_MEMORY_BYTES = 64 * 1024 * 1024
"""Files up to this size stay in memory. SIGRL_BODY_BYTES limits the total over all requests."""


@asynccontextmanager
async def read_form(
    request: Request, max_files: int, max_fields: int, hint: str
) -> AsyncIterator[Sequence[tuple[str, str | UploadFile]]]:
    """Yields fields and files in the order sent. Files are closed when the block ends.

    Raises ContentTypeError, RequestError, RequestTooLargeError, StorageFullError, and any error from reading
    the body.
    """
    kind = media_type(request)
    if kind not in (FORM, _FORM_WITHOUT_FILES):
        raise ContentTypeError(f"the body is {kind[:80] or 'of no type'}, not {FORM}", hint)
    try:
        most_bytes = None if kind == FORM else _MAX_URL_ENCODED_BYTES
        async with aclosing(_in_slices(request, most_bytes)) as stream:
            parser = (
                _Parser(
                    request.headers,
                    stream,
                    max_files=max_files,
                    max_fields=max_fields,
                    max_part_size=_MAX_FIELD_BYTES,
                )
                if kind == FORM
                else FormParser(
                    request.headers, stream, max_fields=max_fields, max_part_size=_MAX_URL_ENCODED_BYTES
                )
            )
            form = await parser.parse()
    except MultiPartException as error:
        raise RequestError(f"the form cannot be read: {error.message}", hint) from error
    except OSError as error:
        raise StorageFullError(
            f"a file of more than {_MEMORY_BYTES >> 20} MiB cannot be kept in the temporary folder",
            "send smaller photographs; the operator makes room there, or sets TMPDIR",
        ) from error
    try:
        yield form.multi_items()
    finally:
        await form.close()


async def _in_slices(request: Request, most_bytes: int | None) -> AsyncGenerator[bytes]:
    received, turn_ends = 0, time.perf_counter() + _TURN_SECONDS
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            received += len(chunk)
            if most_bytes is not None and received > most_bytes:
                raise RequestTooLargeError(
                    f"a form without files is larger than {most_bytes >> 10} KiB", f"send it as {FORM}"
                )
            for start in range(0, len(chunk), _SLICE_BYTES):
                yield chunk[start : start + _SLICE_BYTES]
                if time.perf_counter() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.perf_counter() + _TURN_SECONDS


class _Parser(MultiPartParser):
    """Starlette's parser, which also reads `filename*`, and refuses a form that was cut off. Without that, a
    part that is not whole would be left out in silence."""

    spool_max_size = _MEMORY_BYTES
    _is_whole = False

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._is_whole:
            await form.close()
            raise MultiPartException("it is cut off, because its last boundary is missing")
        return form

    def on_end(self) -> None:
        self._is_whole = True

    def on_headers_finished(self) -> None:
        disposition = self._current_part.content_disposition
        if disposition is not None and (name := _extended_filename(disposition)) is not None:
            printable = "".join(each if each.isprintable() else "\ufffd" for each in name)
            quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
            self._current_part.content_disposition = disposition + f'; filename="{quoted}"'.encode(
                self._charset, "replace"
            )
        super().on_headers_finished()


def _extended_filename(disposition: bytes) -> str | None:
    """The file name if only `filename*` (RFC 5987) is given, which the parser does not support; else None."""
    given = disposition.lower()
    if b"filename*" not in given or b"filename=" in given:
        return None
    header = Message()
    header["Content-Disposition"] = disposition.decode("latin-1")
    return header.get_filename("")
