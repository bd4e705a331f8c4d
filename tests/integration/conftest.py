"""Models behind real HTTP, and litellm imported once for all tests that use it."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

import pytest
from tests.support.http_models import Client, Kind
from tests.support.openai_server import OpenAIServer

from overwinter.agents.models.litellm_library import library

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def running_model_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(running_model_server: OpenAIServer) -> OpenAIServer:
    """A local OpenAI-compatible server with an empty ledger, for models that do not need litellm."""
    running_model_server.reset()
    return running_model_server


@pytest.fixture(scope="session")
def litellm_imported() -> Iterator[None]:
    """The import takes seconds; what it began ends with the tests."""
    asyncio.run(library.prepare())
    yield
    library.close()


@pytest.fixture
def model_server(running_model_server: OpenAIServer, litellm_imported: None) -> OpenAIServer:
    """A local OpenAI-compatible server with an empty ledger, and litellm ready to use it."""
    running_model_server.reset()
    # The filters that litellm sets when it is imported, and that pytest takes away again.
    for known in (
        "Accessing the.*attribute on the instance",
        "conflict with protected",
        "`ReadOnly` qualifier",
    ):
        warnings.filterwarnings("ignore", message=f".*{known}.*")
    return running_model_server


@pytest.fixture
def model_environment(model_server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIServer:
    """The same, and the environment leads litellm there, so that ``gpt-4o-mini`` needs no settings."""
    for name, value in model_server.environment().items():
        monkeypatch.setenv(name, value)
    return model_server


@pytest.fixture(params=["litellm", "direct"])
def kind(request: pytest.FixtureRequest, model_server: OpenAIServer) -> Kind:
    """Each way to a model in turn; tests of only one have a ``kind`` of their own, and no litellm imported."""
    which: Kind = request.param
    return which


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def client(request: pytest.FixtureRequest, kind: Kind, server: OpenAIServer) -> Client:
    return Client(server, streaming=request.param, kind=kind)


@pytest.fixture
def streaming(kind: Kind, server: OpenAIServer) -> Client:
    return Client(server, streaming=True, kind=kind)
