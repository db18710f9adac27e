"""Real servers for every level above unit."""

pytest_plugins = ["counteract.dev.fixtures", "tests.market", "tests.travel.world"]
