"""The commands of the command line as sphinx-click reads them."""

import typer

from pushforward.cli.app import app

commands = typer.main.get_command(app)
