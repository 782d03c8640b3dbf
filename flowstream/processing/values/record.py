"""The model class of records: pydantic, with the JSON codec and Faust's options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pydantic
from pydantic_core import ErrorDetails

from flowstream.processing.values.codecs import Codec, model_codec
from flowstream.processing.values.serializers import Codec as Serializer
from flowstream.processing.values.serializers import get_codec, typed
from flowstream.state.key_fields import mismatch

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(pydantic.BaseModel)

ALWAYS = {
    "isodates": "dates are always read from ISO texts",
    "decimals": "decimals are always read from texts",
    "validation": "a record is always checked when it is made; Model.model_construct() makes one"
    " without",
}
"""Options of Faust's that cannot be turned off here, and why."""
METADATA = "__faust"
"""The entry of a record's JSON that names its model, as Faust writes it."""

_BY_NAMESPACE: dict[str, type[Record]] = {}


_IS_MADE: ContextVar[bool] = ContextVar("_IS_MADE", default=False)
"""Whether a record class is in the making: pydantic must not find names where it looks for values
that fields begin with, or for what they hide.
"""


class Fields(ModelMetaclass):
    """Has a field's name where a class has nothing: `Order.account` is "account", for operators
    that take the name of a field.
    """

    def __new__(mcs, *given: Any, **options: Any) -> Any:
        token = _IS_MADE.set(True)
        try:
            return super().__new__(mcs, *given, **options)
        finally:
            _IS_MADE.reset(token)

    if not TYPE_CHECKING:  # checkers know the attributes, and no others

        def __getattr__(cls, name: str) -> Any:
            # Asked last, when no class of the line has the attribute.
            if not _IS_MADE.get() and name in cls.__dict__.get("__pydantic_fields__", ()):
                return name
            return super().__getattr__(name)


class Record(pydantic.BaseModel, metaclass=Fields):
    """A typed value of a topic or table: a pydantic model that travels as JSON.

    Class arguments are pydantic's (`frozen=True` makes an immutable record, which a table hands out
    without a copy) and some of Faust's: `serializer="json|gzip"`; `coerce=False` takes nothing of
    another type; `include_metadata=True` writes the record's namespace along (`ns=`, or module and
    class), by which a topic of an `abstract=True` record tells its subclasses apart.
    """

    __serializer: ClassVar[str | Serializer | None] = None
    __namespace: ClassVar[str] = ""
    __metadata: ClassVar[bool] = False
    __abstract: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        serializer: str | Serializer | None = None,
        ns: str | None = None,
        include_metadata: bool | None = None,
        abstract: bool = False,
        coerce: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init_subclass__()
        _refuse_options(cls.__name__, options)
        if coerce is not None:
            cls.model_config["strict"] = not coerce
        if serializer is not None:
            get_codec(serializer)
            cls.__serializer = serializer
        if include_metadata is not None:
            cls.__metadata = include_metadata
        cls.__abstract = abstract
        cls.__namespace = ns or f"{cls.__module__}.{cls.__qualname__}"
        _BY_NAMESPACE[cls.__namespace] = cls

    @classmethod
    def __flowstream_codec__(cls, *, serialized: bool = True) -> Codec[Any]:
        """How records of this class travel; as JSON alone, whatever their serializer."""
        codec = model_codec(cls)
        if cls.__abstract or cls.__metadata:
            decode = _any_of(cls) if cls.__abstract else codec.decode
            codec = Codec(cls.__name__, _with_metadata(cls), decode, codec.immutable)
        return typed(codec, cls.__serializer) if serialized and cls.__serializer else codec

    @classmethod
    def _namespace(cls) -> str:
        """What names this class in a record's metadata."""
        return cls.__namespace

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A record of a dict as JSON has it, checked; pydantic.ValidationError when it is none."""
        return cls.model_validate(data)

    @classmethod
    def loads(cls, data: bytes | str, *, serializer: str | Serializer | None = None) -> Self:
        """A record of its bytes; an error of the codec's, or ValidationError, when it is none."""
        raw = data.encode() if isinstance(data, str) else data
        found: Self = cls.__codec(serializer).decode(raw)
        return found

    def dumps(self, *, serializer: str | Serializer | None = None) -> bytes:
        """The record's bytes: JSON, or what its serializer (or this one) makes of it."""
        return self.__codec(serializer).encode(self)

    @classmethod
    def __codec(cls, serializer: str | Serializer | None) -> Codec[Any]:
        if serializer is None:
            return cls.__flowstream_codec__()
        return typed(cls.__flowstream_codec__(serialized=False), serializer)

    @classmethod
    def make_final(cls) -> None:
        """Build the class now, when names in its annotations were not there yet."""
        cls.model_rebuild(force=True)

    def asdict(self) -> dict[str, Any]:
        """The fields by name, their values as they are."""
        return dict(self)

    def to_representation(self) -> dict[str, Any]:
        """The fields by name, as JSON has them, with the namespace where it is written along."""
        plain = self.model_dump(mode="json")
        return {**plain, METADATA: {"ns": self.__namespace}} if self.__metadata else plain

    def derive(self, *others: Record, **fields: Any) -> Self:
        """A copy with the fields of others, and with these; checked."""
        changed: dict[str, Any] = dict(self)
        for other in others:
            changed.update(dict(other))
        return type(self).model_validate({**changed, **fields}, by_name=True)

    def is_valid(self) -> bool:
        """Whether its fields, as they are now, are what the model says."""
        return not self.validation_errors

    @property
    def validation_errors(self) -> list[ErrorDetails]:
        """What is wrong with its fields, as pydantic tells it: they may have been assigned to."""
        try:
            type(self).model_validate(dict(self), by_name=True)
        except pydantic.ValidationError as error:
            return error.errors()
        return []

    def validate_or_raise(self) -> None:
        """Raise pydantic.ValidationError when a field is not what the model says."""
        type(self).model_validate(dict(self), by_name=True)


def _refuse_options(name: str, options: Mapping[str, Any]) -> None:
    """TypeError for class arguments that nothing would come of."""
    for option, why in ALWAYS.items():
        given = options.get(option, True)
        if given is not True:
            raise TypeError(f"record {name}: {option}={given!r} cannot be given: {why}")
    unknown = [option for option in options if option not in ALWAYS]
    if unknown:
        raise TypeError(
            f"record {name}: {', '.join(unknown)} cannot be given; class arguments are pydantic's"
            " (frozen=True, strict=True, ...) and serializer=, ns=, include_metadata=,"
            " abstract=, coerce="
        )


def _with_metadata(model: type[Record]) -> Callable[[Any], bytes]:
    """Encodes records of a class, or of its subclasses, with their namespace."""

    def encode(value: Any) -> bytes:
        if not isinstance(value, model):
            raise mismatch(model.__name__, value)
        plain = value.model_dump(mode="json")
        plain[METADATA] = {"ns": type(value)._namespace()}
        return json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()

    return encode


def _any_of(model: type[Record]) -> Callable[[bytes], Any]:
    """Reads records of the subclasses of a class, by the namespace that each names."""

    def decode(data: bytes) -> Any:
        plain = json.loads(data)
        named = plain.get(METADATA) if isinstance(plain, dict) else None
        namespace = named.get("ns") if isinstance(named, dict) else None
        found = _BY_NAMESPACE.get(namespace) if isinstance(namespace, str) else None
        if found is None or not issubclass(found, model):
            raise ValueError(
                f"{namespace!r} names no subclass of {model.__name__}: write such records with"
                " include_metadata=True, and import the module that declares them"
            )
        return found.model_validate_json(data)

    return decode
