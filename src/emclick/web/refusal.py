"""What a browser shows to somebody who opens the page without the token: what to do, instead of an error for programs.

No style: the page's own files are behind the token, and the policy of `security.HEADERS` allows none in the page.
"""

from __future__ import annotations

import html

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>emclick</title>
</head>
<body>
<main>
<h1>{title}</h1>
{text}
</main>
</body>
</html>
"""

_WHAT_TO_DO = {
    "token_missing": (
        "Open the address from the terminal",
        "<p>This address lacks the token that <code>emclick serve</code> asks for, or has an old one.</p>\n"
        "<p>In the terminal where <code>emclick serve</code> runs there is a line that begins with "
        "<code>open http</code>. Open the whole address on it, with what comes after <code>?token=</code>.</p>\n"
        "<p>The token is a new one each time the program is started, unless <code>--token</code> names one. Work that "
        "was saved is kept.</p>",
    )
}


def refusal_page(code: str, message: str) -> str:
    """An HTML page that says why, and what to do about it."""
    title, text = _WHAT_TO_DO.get(code, ("emclick does not answer here", f"<p>{html.escape(message)}</p>"))
    return _PAGE.format(title=title, text=text)
