"""What every test shares: property tests that are repeatable, leave no files and know no deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "house",
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=100,
    # Scripted agents and simulators are drawn as data; that is slow to begin with, and meant so.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("house")
