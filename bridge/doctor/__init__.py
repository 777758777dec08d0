"""What a newcomer gets wrong, found in the settings, on the machine and in the running app."""
