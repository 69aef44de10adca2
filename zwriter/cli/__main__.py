"""`python -m zwriter.cli`, where `zwriter` is not installed."""

from zwriter.cli import app

app(prog_name="zwriter")
