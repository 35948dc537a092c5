"""Rendering the page: one HTML file, and Markdown beside its figures."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.figures.style import inline
from reports.page.views import StudyView
from reports.tables.cells import Table
from reports.tables.rendering import escape_markdown, to_html, to_markdown


def page_templates(*first: str) -> Environment:
    """Return the templates of pages, with tables and figures as functions.

    Args:
        first: packages whose folder `templates` comes before that of `reports.page`.

    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*first, "reports.page")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["table"] = to_html
    # matplotlib escapes the text that it draws.
    environment.globals["svg"] = lambda figure: Markup(inline(figure.svg))
    return environment


def render_html(views: list[StudyView]) -> str:
    """Render the page as one file that has no script and fetches nothing."""
    return page_templates().get_template("report.html").render(views=views)


def render_markdown(views: list[StudyView]) -> str:
    """Render the page as Markdown that links `figures/*.svg`."""

    def figure(view: StudyView, name: str) -> list[str]:
        if name not in view.figures:
            return []
        shown = view.figures[name]
        title = escape_markdown(shown.title)
        return [f"![{title}](figures/{shown.name}.svg)", escape_markdown(shown.caption)]

    def table(tables: dict[str, tuple[Table, Table | None]], name: str) -> list[str]:
        seen, folded = tables[name]
        found = [to_markdown(seen).rstrip()]
        if folded is not None:
            summary = f"<summary>{escape_markdown(folded.title)}</summary>"
            found += [f"<details>\n{summary}", to_markdown(folded).rstrip(), "</details>"]
        return found

    parts: list[str] = []
    for view in views:
        tables = view.folded
        facts = [
            f"- {escape_markdown(name)}: {escape_markdown(value)}"
            for name, value in view.provenance.facts
        ]
        warned = (*view.warnings, *view.provenance.warnings)
        warnings = [f"**{escape_markdown(text)}**" for text in warned]
        parts += [
            f"# {escape_markdown(view.title)}",
            f"Study {escape_markdown(view.name)}.",
            "\n".join(f"- {escape_markdown(text)}" for text in view.headlines),
            *warnings,
        ]
        for section in view.sections:
            parts.append(f"## {escape_markdown(section.title)}")
            for item in section.items:
                parts += table(tables, item) if item in tables else figure(view, item)
        parts += [
            *(["## All trials", *table(tables, "trials")] if "trials" in tables else []),
            "## Provenance",
            "\n".join(facts),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"
