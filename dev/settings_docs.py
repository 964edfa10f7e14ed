"""Writes what people read about settings: the table in the README and `.env.example`, both from `app.core.config`."""

import re

from app.core.config import ROOT, Variable, variables

BEGIN, END = "<!-- settings: made by `make docs` -->", "<!-- end of settings -->"

HEAD = """# Every setting of Coffer, with its default. Set them where your platform keeps the environment of processes.
# Made by `make docs` from app/core/config.py; secrets have no default and none stands here.
"""


def table(found: list[Variable]) -> str:
    """The settings as a Markdown table."""
    rows = "\n".join(f"| `{one.name}` | {one.meaning} | {one.default_text} |" for one in found)
    return f"| variable | meaning | default |\n| --- | --- | --- |\n{rows}"


def example(found: list[Variable]) -> str:
    """The settings as an environment file in which everything is commented out."""
    return HEAD + "".join(f"\n# {one.meaning} (default: {one.default_text})\n# {one.name}=\n" for one in found)


def main() -> None:
    """Write both."""
    found = variables()
    readme = ROOT / "README.md"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    readme.write_text(pattern.sub(lambda _: f"{BEGIN}\n{table(found)}\n{END}", readme.read_text()))
    (ROOT / ".env.example").write_text(example(found))


if __name__ == "__main__":
    main()
