from hypothesis import settings

pytest_plugins = ["zwriter.testing.fixtures"]

# No test asserts a time; and what is tested is the same each time, so that red means a change.
# `pytest --hypothesis-profile=explore` looks for what nobody has thought of yet.
settings.register_profile("shared machine", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("shared machine")
