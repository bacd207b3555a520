"""The public terminal contract over MQTT: topics, messages, signatures, and the one client."""
