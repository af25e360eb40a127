"""The first token: somebody must be able to call TokenCreate. Whoever can read the router's directory is trusted with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

from cove.types import new_id
from router.auth import SECRET_PREFIX, TOKEN_PREFIX, Authenticator, Credentials
from router.db.protocol import TokenStore
from router.secret_files import write

FILE_NAME: Final = "bootstrap-token.json"
"""In the router's directory: ``{"token_id": "ak-…", "token_secret": "as-…"}``, readable by its owner alone."""

log = structlog.get_logger(__name__)


async def ensure_token(tokens: TokenStore, authenticator: Authenticator, directory: Path, workspace: str) -> None:
    """Leave a token in ``directory`` unless somebody can log in already. The file comes first: a token that nobody has is no use."""
    if await tokens.any_active():
        return
    credentials = Credentials(new_id(TOKEN_PREFIX), new_id(SECRET_PREFIX))
    write(directory / FILE_NAME, msgspec.json.encode(credentials))
    await authenticator.store(credentials, workspace, "bootstrap")
    log.info("bootstrap token written", path=str(directory / FILE_NAME), token_id=credentials.token_id)
