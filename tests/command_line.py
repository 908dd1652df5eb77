"""Commands run in this process, as the tests of the command line need them."""

import json

from typer.testing import CliRunner

from pushforward.cli.app import app


def run(*arguments, code=0):
    """Run a command in this process; the exit code must be ``code``."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.stdout}\n{result.stderr}"
    return result


def run_json(*arguments):
    """The one JSON document that a command prints."""
    return json.loads(run(*arguments, "--json").stdout)
