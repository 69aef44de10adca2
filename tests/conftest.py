import os
from pathlib import Path

from hypothesis import settings

# what `make test` builds: moto in an environment of its own
MOTO = Path(__file__).parents[1] / ".venv-moto/bin/moto_server"
os.environ.setdefault("ZWRITER_MOTO_SERVER", str(MOTO))

pytest_plugins = ["zwriter.testing.fixtures"]

# No test asserts a time; and what is tested is the same each time, so that red means a change.
# `pytest --hypothesis-profile=explore` looks for what nobody has thought of yet.
settings.register_profile("shared machine", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("shared machine")
