"""Pages for people's browsers, each with a policy that lets run only what the page itself brings."""

import base64
import hashlib
import re

from fastapi.responses import HTMLResponse

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page_of(content: str, *, status: int = 200) -> HTMLResponse:
    """Return a page whose inline scripts and styles are let through by their hashes, and no others."""
    return HTMLResponse(content, status_code=status, headers={"Content-Security-Policy": policy_of(content)})


def policy_of(content: str) -> str:
    """Write the Content-Security-Policy of a page: its own inline elements and files of this service."""
    allowed: dict[str, list[str]] = {"script": ["'self'"], "style": ["'self'"]}
    for kind, text in _INLINE.findall(content):
        allowed[kind].append(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
    return (
        f"default-src 'none'; script-src {' '.join(allowed['script'])}; style-src {' '.join(allowed['style'])}; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
