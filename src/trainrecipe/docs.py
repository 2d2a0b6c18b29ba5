"""Prints the documentation of the checks from the checks: `python -m trainrecipe.docs` writes `docs/checks/`."""

from __future__ import annotations

import textwrap
from pathlib import Path

from trainrecipe.check import HEADINGS, Check, built_in

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "checks"


def page(check: Check) -> str:
    """A check's page, in Markdown."""
    facts = [
        f"- examines: {check.subject.lower()}",
        f"- price: {check.price.value}",
        f"- recipe: {', '.join(check.rows)}",
    ]
    if check.faults:
        facts.append(f"- fault catalogue: {', '.join(map(str, check.faults))}")
    if check.explains:
        facts.append("- explains: " + ", ".join(f"[{c}]({c}.md)" for c in check.explains))
    parts = [f"# {check.id}", check.hypothesis, "\n".join(facts)]
    parts += [f"## {heading}\n\n{textwrap.fill(check.sections[heading], 110)}" for heading in HEADINGS]
    parts.append(f"Specimens: [`gallery/{check.id}`](../../gallery/{check.id})")
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Every page by file name, with the index."""
    checks = built_in()
    index = ["# Checks", "", "Printed from the checks by `make docs`.", ""]
    index += [f"- [{c.id}]({c.id}.md): {c.hypothesis}" for c in checks]
    return {"README.md": "\n".join(index) + "\n", **{f"{c.id}.md": page(c) for c in checks}}


def main() -> None:
    """Write the pages, and remove those of checks that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for stale in set(FOLDER.glob("*.md")) - {FOLDER / name for name in wanted}:
        stale.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
