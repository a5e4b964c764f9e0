"""The page at /docs: Swagger UI where it can be fetched, and the same routes as plain text where it cannot.

FastAPI's own page is empty without an internet connection, because Swagger UI comes from a public server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

_SWAGGER = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui"
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<style>
#plain { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
#plain summary, #plain h3 { margin: .6rem 0; }
#plain pre { background: #f4f4f4; padding: .6rem; overflow: auto; }
</style>
</head>
<body>
<div id="swagger-ui"><div id="plain">
%(plain)s
</div></div>
<script>
function swagger() {
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = "%(swagger)s.css";
  style.onload = () => {
    document.getElementById("plain").remove();
    SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true });
  };
  document.head.append(style);
}
</script>
<script async src="%(swagger)s-bundle.js" onload="swagger()"></script>
</body>
</html>
"""


def docs_page(schema: dict[str, Any]) -> str:
    """HTML for an OpenAPI document."""
    title = escape(schema["info"]["title"])
    plain = [f"<h1>{title}</h1>", *_paragraphs(schema["info"]["description"]), *_routes(schema["paths"])]
    return _PAGE % {"title": title, "plain": "\n".join(plain), "swagger": _SWAGGER}


def _paragraphs(markdown: str) -> Iterator[str]:
    for text in markdown.strip().split("\n\n"):
        yield f"<p>{_marked(text)}</p>"


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _routes(paths: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Those of one tag below each other, in the order they were added."""
    routes = [(path, method, route) for path, methods in paths.items() for method, route in methods.items()]
    for tag in dict.fromkeys(route["tags"][0] for _, _, route in routes):
        yield f"<h2>{escape(tag)}</h2>"
        for path, method, route in routes:
            if route["tags"][0] == tag:
                yield f"<details><summary><code>{method.upper()} {escape(path)}</code> {_marked(route['summary'])}"
                yield "</summary>"
                yield from _paragraphs(route.get("description", ""))
                yield from _examples("request", route.get("requestBody", {}))
                for status, answer in route["responses"].items():
                    yield from _examples(status, answer)
                yield "</details>"


def _examples(what: str, body: dict[str, Any]) -> Iterator[str]:
    for media in body.get("content", {}).values():
        given = media.get("examples") or ({"": {"value": media["example"]}} if "example" in media else {})
        for name, example in given.items():
            text = json.dumps(example["value"], indent=2, ensure_ascii=False)
            yield f"<h3>{escape(f'{what} {name}'.strip())}</h3>\n<pre>{escape(text)}</pre>"
