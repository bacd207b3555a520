"""A PostgreSQL and an MQTT broker inside this process's folder, for the demo and the tests."""
