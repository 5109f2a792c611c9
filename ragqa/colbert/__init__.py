"""Late interaction: encoders that turn text into token vectors, their store, and MaxSim."""
