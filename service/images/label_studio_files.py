"""Fetches photographs that Label Studio keeps, with the operator's key."""

from urllib.parse import urljoin

import httpx

from sigrl.service.errors import ImageError, UrlFailedError, UrlInputOffError
from sigrl.service.images.url_input import MAX_REDIRECTS, Budget, UrlFetcher
from sigrl.service.settings import Settings

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class LabelStudioFiles:
    """The files of the Label Studio at SIGRL_LABEL_STUDIO_URL. The key is sent to that address alone: what is
    elsewhere, or is redirected elsewhere, is fetched as any other URL is."""

    def __init__(self, settings: Settings, fetcher: UrlFetcher | None) -> None:
        """`fetcher`: fetches what is elsewhere; None if the service does not fetch URLs."""
        self._home = httpx.URL(settings.label_studio_url or "")
        self._headers = {}
        if settings.label_studio_key is not None:
            self._headers["Authorization"] = f"Token {settings.label_studio_key.get_secret_value()}"
        self._seconds = settings.url_seconds
        self._fetcher = fetcher

    async def fetch(self, address: str, budget: Budget) -> bytes | ImageError:
        """A photograph by its URL, or by its path at Label Studio. Raises UrlInputOffError."""
        if not self._home.host and address.startswith("/"):
            raise UrlInputOffError(
                "the photograph is at Label Studio, and the service does not know where that is",
                "set SIGRL_LABEL_STUDIO_URL and SIGRL_LABEL_STUDIO_KEY",
            )
        try:
            for _ in range(MAX_REDIRECTS + 1):
                url = httpx.URL(urljoin(str(self._home), address))
                if (url.scheme, url.netloc) != (self._home.scheme, self._home.netloc):
                    return await self._from_elsewhere(str(url), budget)
                content = await self._hop(url, budget)
                if isinstance(content, bytes):
                    return content
                address = urljoin(str(url), content)
        except ImageError as error:
            return error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return _failed(f"{type(error).__name__}: {error}")
        return _failed(f"it redirects more than {MAX_REDIRECTS} times")

    async def _from_elsewhere(self, url: str, budget: Budget) -> bytes | ImageError:
        if self._fetcher is None:
            raise UrlInputOffError(
                "the photograph is not at Label Studio, and this service fetches no other URLs",
                "set SIGRL_URL_INPUT=true to allow it",
            )
        return await self._fetcher.fetch(url, budget)

    async def _hop(self, url: httpx.URL, budget: Budget) -> bytes | str:
        """The content at one URL, or the address that it redirects to."""
        client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=self._seconds)
        async with client, client.stream("GET", url, headers=self._headers) as answer:
            if answer.status_code in _REDIRECTS and "location" in answer.headers:
                return answer.headers["location"]
            if answer.status_code != 200:
                raise _failed(f"Label Studio answers with status {answer.status_code}")
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                budget.spend(len(chunk))
                content += chunk
            return bytes(content)


def _failed(why: str) -> UrlFailedError:
    return UrlFailedError(
        f"the photograph cannot be fetched from Label Studio: {why}",
        "check SIGRL_LABEL_STUDIO_URL and SIGRL_LABEL_STUDIO_KEY",
    )
