from hypothesis import settings

pytest_plugins = ["zwriter.testing.fixtures"]

settings.register_profile("shared machine", deadline=None)  # no test asserts a time
settings.load_profile("shared machine")
