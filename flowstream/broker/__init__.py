"""The integrated broker: pure cores that decide, thin shells that do. See README.md here."""
