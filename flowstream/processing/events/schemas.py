"""Schemas: the types and serializers of a topic's keys and values, as one object. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import Headers
from flowstream.processing.events.event import Arrival, Event, event_of
from flowstream.processing.values.serializers import Codec, typed

Prepare = Callable[[Any, Any, Headers], Headers]
"""Headers of key, value and those that are given."""
_OURS = ("loads_key", "loads_value", "dumps_key", "dumps_value", "decode")


def schema_of(given: Schema | None, what: str) -> Schema:
    """A schema, an empty one for None. AppError when it is something else."""
    if given is not None and not isinstance(given, Schema):
        raise AppError(
            f"{what}: schema= is an object, fs.Schema(value_type=...), not {described(given)}"
        )
    return given or Schema()


class Schema:
    """What a topic carries: `app.topic("orders", schema=fs.Schema(value_type=Order))`.

    Data, not hooks: how bytes are made is the affair of a `fs.Codec`. `allow_empty` takes records
    without a value, as None. The headers of what is sent may be made by two methods that a subclass
    overrides, which get those that are given and return the ones to send.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = [name for name in _OURS if name in vars(cls)]
        if own:
            raise AppError(
                f"schema {cls.__name__} overrides {', '.join(own)}: write a fs.Codec instead, and"
                " name it with value_serializer= (it is asked once per record, without the app)"
            )

    def __init__(
        self,
        *,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: str | Codec | None = None,
        value_serializer: str | Codec | None = None,
        allow_empty: bool | None = None,
    ) -> None:
        self.key_type: Any = None
        self.value_type: Any = None
        self.key_serializer: str | Codec | None = None
        self.value_serializer: str | Codec | None = None
        self.allow_empty = False
        self.update(
            key_type=key_type, value_type=value_type, key_serializer=key_serializer,
            value_serializer=value_serializer, allow_empty=allow_empty,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Schema(key_type={self.key_type!r}, value_type={self.value_type!r})"

    def update(
        self,
        *,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: str | Codec | None = None,
        value_serializer: str | Codec | None = None,
        allow_empty: bool | None = None,
    ) -> None:
        """Change what is given; topics that are declared already stay as they are."""
        given = {
            "key_type": key_type, "value_type": value_type, "key_serializer": key_serializer,
            "value_serializer": value_serializer, "allow_empty": allow_empty,
        }  # fmt: skip
        self.__dict__.update({name: value for name, value in given.items() if value is not None})
        keys: Any = bytes if self.key_serializer is None else Any
        self._keys = typed(self.key_type or keys, self.key_serializer)
        self._values = typed(self.value_type or Any, self.value_serializer)

    def on_dumps_key_prepare_headers(self, key: Any, headers: Headers) -> Headers:
        """The headers to send with a key; overridden, and asked first."""
        del key
        return headers

    def on_dumps_value_prepare_headers(self, value: Any, headers: Headers) -> Headers:
        """The headers to send with a value; overridden."""
        del value
        return headers

    @property
    def prepare(self) -> Prepare | None:
        """What makes headers of key, value and given ones, None where nobody wants to."""
        kind = type(self)
        if (kind.on_dumps_key_prepare_headers, kind.on_dumps_value_prepare_headers) == (
            Schema.on_dumps_key_prepare_headers, Schema.on_dumps_value_prepare_headers,
        ):  # fmt: skip
            return None
        return self._prepared

    def _prepared(self, key: Any, value: Any, headers: Headers) -> Headers:
        found = self.on_dumps_key_prepare_headers(key, headers)
        return self.on_dumps_value_prepare_headers(value, found)

    def dumps_key(
        self, app: Any, key: Any, *, headers: Headers = ()
    ) -> tuple[bytes | None, Headers]:
        """A key's bytes, and the headers."""
        del app
        data = None if key is None else self._keys.encode(key)
        return data, self.on_dumps_key_prepare_headers(key, headers)

    def dumps_value(
        self, app: Any, value: Any, *, headers: Headers = ()
    ) -> tuple[bytes | None, Headers]:
        """A value's bytes, and the headers."""
        del app
        data = None if value is None else self._values.encode(value)
        return data, self.on_dumps_value_prepare_headers(value, headers)

    def loads_key(self, app: Any, message: Arrival) -> Any:
        """The key of a record."""
        del app
        return None if message.key is None else self._keys.decode(message.key)

    def loads_value(self, app: Any, message: Arrival) -> Any:
        """The value of a record."""
        del app
        if message.value is None:
            if self.allow_empty:
                return None
            raise ValueError("the record has no value, and the schema says no allow_empty=True")
        return self._values.decode(message.value)

    async def decode(self, app: Any, message: Arrival) -> Event[Any]:
        """The event of a record."""
        return event_of(message, self.loads_key(app, message), self.loads_value(app, message))
