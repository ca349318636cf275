"""Settings of the whole suite."""

from hypothesis import HealthCheck, settings

# No test is timed: a busy machine must not fail one.
settings.register_profile("exchange", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("exchange")
