"""The devices: found, identified, and held against their specifications."""
