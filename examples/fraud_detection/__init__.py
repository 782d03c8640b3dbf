"""Card fraud detection on flowstream: see README.md in this folder."""
