"""A typed client of the service, for programs that have no model in them. It imports neither torch nor
FastAPI.

from sigrl.client import Client

with Client("https://tags.example.com") as client:        # the key is read from SIGRL_API_KEY
    for image in client.tag("photo.jpg", ["dog", "bicycle"]).images:
        print(image.filename, image.tags)
"""

from sigrl.service.client.asynchronous import AsyncClient
from sigrl.service.client.photographs import Result
from sigrl.service.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "Result"]
