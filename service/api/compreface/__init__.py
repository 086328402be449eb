"""A subset of CompreFace's HTTP API over the same use cases as our own, for clients that speak only that.

Its paths, options, answers and error codes follow CompreFace's documentation of its API
(exadel-inc/CompreFace, docs/Rest-API-description.md) and what Double Take, Viseron and its Python SDK send.
"""

from service.api.compreface import faces, recognition, subjects
from service.api.compreface.routes import PREFIX as PREFIX
from service.api.compreface.routes import SECURITY_SCHEME as SECURITY_SCHEME

ROUTERS = (recognition.router, faces.image_router, faces.router, subjects.router)
