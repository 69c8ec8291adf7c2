"""The page that describes the routes, made from the OpenAPI schema: no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff; }
code, pre { font: 13px/1.45 ui-monospace, Consolas, monospace; }
pre { background: #f3f4f6; padding: .6rem .8rem; border-radius: 6px; overflow: auto; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de; }
h3 { margin: 1.6rem 0 .2rem; } h3 code { font-size: 15px; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
@media (prefers-color-scheme: dark) { body { color: #dfe3e8; background: #15181c; } pre { background: #22262c; }
  h2 { border-color: #3a4048; } a { color: #7db4ff; } }
"""

_INTRODUCTION = """
<p>Send the token as <code>Authorization: Bearer TOKEN</code>, or as the page's cookie. Every error is
<code>{"error": {"code", "message"}}</code>. The schema for machines is <a href="openapi.json">openapi.json</a>.</p>
<pre>curl -H "Authorization: Bearer $TOKEN" $URL/api/images
curl -H "Authorization: Bearer $TOKEN" -X POST $URL/api/images/IMAGE/objects
curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
     -d '{"x": 240, "y": 150, "positive": true}' $URL/api/objects/OBJECT/clicks</pre>
"""


def reference_page(schema: Mapping[str, Any]) -> str:
    """An OpenAPI schema as an HTML page."""
    routes = [
        (operation.get("tags", ["other"])[0], method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>emclick API</title>",
        '<meta name=viewport content="width=device-width"><link rel=stylesheet href="docs.css">',
        f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>{_INTRODUCTION}",
    ]
    for tag in dict.fromkeys(tag for tag, *_ in routes):
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_route(method, path, operation) for own, method, path, operation in routes if own == tag]
    parts.append("<h2>Messages</h2>")
    parts += [_message(name, model) for name, model in schema["components"]["schemas"].items()]
    return "\n".join(parts) + "</html>"


def _route(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        (each["name"], each["in"], _kind(each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", [])
    ]
    bodies = operation.get("requestBody", {}).get("content", {})
    rows += [("body", kind, _kind(content.get("schema", {})), "") for kind, content in bodies.items()]
    answers = []
    for status, response in operation["responses"].items():
        contents = response.get("content", {}).items()
        kinds = ", ".join(_kind(content.get("schema", {})) or kind for kind, content in contents)
        answers.append((status, kinds, response["description"]))
    return (
        f"<h3><code>{method} {escape(path)}</code></h3><p>{escape(operation.get('description', ''))}</p>"
        + _table(rows)
        + _table(answers)
    )


def _message(name: str, model: Mapping[str, Any]) -> str:
    required = model.get("required", [])
    rows = [
        (key, _kind(value), "" if key in required else "optional", value.get("description", ""))
        for key, value in model.get("properties", {}).items()
    ]
    about = escape(model.get("description", ""))
    return f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3><p>{about}</p>{_table(rows)}'


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[-1]
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {})) or 'anything'}"
    return str(schema.get("const", schema.get("type", "")))


def _table(rows: list[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{each}" for each in cells) + "</table>" if rows else ""
