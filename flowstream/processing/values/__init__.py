"""How values become bytes and back: codecs of types, serializers by name, models of records."""
