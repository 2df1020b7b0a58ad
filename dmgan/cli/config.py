"""`config`: the resolved configuration with its sources, a JSON Schema for editors, the reference page."""

from __future__ import annotations

import argparse
import json

from dmgan.cli.command import Command, on_a_run, run_folder, sourced_configuration
from dmgan.config.reference import commented, json_schema, page, records

__all__ = ["CONFIG"]


def flags(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    text = "the resolved configuration as YAML, with each key's source and description"
    show = actions.add_parser("show", help=text, description=text, allow_abbrev=False)
    on_a_run(show)
    show.add_argument("--json", action="store_true", help="as a JSON list, with defaults and roles")
    for name, text in (
        ("schema", "a JSON Schema of configuration files, for editors"),
        ("docs", "docs/configuration.md: every key with its values, default, meaning and roles"),
    ):
        actions.add_parser(name, help=text, description=text, allow_abbrev=False)


def carry_out(options: argparse.Namespace) -> int:
    if options.action == "schema":
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    elif options.action == "docs":
        print(page(), end="")
    else:
        sourced = sourced_configuration(options, run_folder(options))
        text = json.dumps(records(sourced), indent=2, ensure_ascii=False) if options.json else commented(sourced)
        print(text.rstrip("\n"))
    return 0


CONFIG = Command("show the resolved configuration, or print its schema or its reference page", flags, carry_out)
