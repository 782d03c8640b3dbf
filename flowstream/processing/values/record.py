"""The model class of records: pydantic, with the JSON codec and Faust's options."""

from __future__ import annotations

import datetime
import difflib
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pydantic
from pydantic_core import ErrorDetails

from flowstream.processing.declaring import described
from flowstream.processing.instead import not_taken
from flowstream.processing.values.codecs import Codec, model_codec
from flowstream.processing.values.coercing import (
    Coercions,
    check_coercions,
    coerce_fields,
    config_of,
)
from flowstream.processing.values.serializers import Codec as Serializer
from flowstream.processing.values.serializers import get_codec, typed
from flowstream.state.key_fields import mismatch

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(pydantic.BaseModel)

ALWAYS = {
    "isodates": (True, "dates are always read from ISO texts"),
    "decimals": (True, "decimals are always read from texts"),
    "validation": (
        True,
        "a record is always checked when it is made; Model.model_construct() makes one without",
    ),
    "allow_blessed_key": (
        False,
        "a `__faust` entry never says what a record is, but for a topic of an abstract=True record",
    ),
}
"""Options of Faust's that have one answer here, and why."""
OPTIONS = (
    "serializer", "ns", "namespace", "include_metadata", "abstract", "coerce", "coercions",
    "date_parser", "lazy_creation", *ALWAYS,
    *pydantic.ConfigDict.__annotations__,
)  # fmt: skip
"""Class arguments of records."""
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
        if "namespace" in options:  # pydantic has an argument of this name, of its own
            if "ns" in options:
                raise TypeError(f"record {given[0]}: namespace= is another word for ns=: say one")
            options["ns"] = options.pop("namespace")
        if "coerce" in options and "strict" in options:
            raise TypeError(f"record {given[0]}: coerce= is the contrary of strict=: say one")
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
            if name.startswith("_"):
                return super().__getattr__(name)
            raise AttributeError(_no_field(cls.__name__, name, cls.__dict__))


class Record(pydantic.BaseModel, metaclass=Fields):
    """A typed value of a topic or table: a pydantic model that travels as JSON.

    Class arguments are pydantic's (`frozen=True` makes an immutable record, which a table hands out
    without a copy) and some of Faust's: `serializer="json|gzip"`; `coerce=False` takes nothing of
    another type; `include_metadata=True` writes the record's namespace along (`ns=`, or module and
    class), by which a topic of an `abstract=True` record tells its subclasses apart.
    `coercions={Money: Money.parse}` makes values of a type of what is none, as `date_parser` does
    times; with `lazy_creation` a class is built at its first use, or by `make_final`.
    """

    __serializer: ClassVar[str | Serializer | None] = None
    __namespace: ClassVar[str] = ""
    __metadata: ClassVar[bool] = False
    __abstract: ClassVar[bool] = False
    __coercions: ClassVar[Coercions] = {}

    def __init_subclass__(
        cls,
        *,
        serializer: str | Serializer | None = None,
        ns: str | None = None,
        namespace: str | None = None,
        include_metadata: bool | None = None,
        abstract: bool = False,
        coerce: bool | None = None,
        coercions: Coercions | None = None,
        date_parser: Callable[[Any], datetime.datetime] | None = None,
        lazy_creation: bool = False,
        **options: Any,
    ) -> None:
        super().__init_subclass__()
        del namespace  # the metaclass has made it ns
        _refuse_options(cls.__name__, options)
        _check_kinds(
            cls.__name__,
            ns,
            include_metadata=include_metadata,
            abstract=abstract,
            coerce=coerce,
            lazy_creation=lazy_creation,
        )
        made = check_coercions(coercions, date_parser, f"record {cls.__name__}")
        cls.__coercions = {**cls.__coercions, **made}
        cls.model_config.update(config_of(vars(cls).values(), made, is_lazy=lazy_creation))
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
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Once pydantic knows the fields: have them coerced."""
        super().__pydantic_init_subclass__(**options)
        if cls.__coercions:
            coerce_fields(cls, cls.__coercions)

    @classmethod
    def __flowstream_codec__(cls, *, serialized: bool = True) -> Codec[Any]:
        """How records of this class travel; as JSON alone, whatever their serializer."""
        codec = cls._plain_codec()
        if cls.__abstract or cls.__metadata:
            decode = _any_of(cls) if cls.__abstract else codec.decode
            codec = Codec(cls.__name__, _with_metadata(cls), decode, codec.immutable)
        return typed(codec, cls.__serializer) if serialized and cls.__serializer else codec

    @classmethod
    def _plain_codec(cls) -> Codec[Any]:
        """Records of this class itself, as JSON."""
        codec = model_codec(cls)
        if not cls.__minds_metadata():
            return codec
        return replace(codec, decode=_passing_over_metadata(codec.decode))

    @classmethod
    def __minds_metadata(cls) -> bool:
        """Whether what names a record's class would be an extra entry, refused or kept."""
        return cls.model_config.get("extra", "ignore") != "ignore"

    @classmethod
    def _namespace(cls) -> str:
        """What names this class in a record's metadata."""
        return cls.__namespace

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """A record of a dict as JSON has it, checked; pydantic.ValidationError when it is none."""
        return cls.model_validate(_bare(data) if cls.__minds_metadata() else data)

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
        model = type(self)
        unknown = fields.keys() - model.model_fields.keys()
        if unknown and model.model_config.get("extra") != "allow":
            raise TypeError(_no_field(model.__name__, min(unknown), vars(model)))
        changed: dict[str, Any] = dict(self)
        for other in others:
            changed.update(dict(other))
        return model.model_validate({**changed, **fields}, by_name=True)

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

    def validate(self) -> list[ErrorDetails]:  # type: ignore[override]
        """What is wrong with its fields: see `validation_errors`."""
        return self.validation_errors

    def validate_or_raise(self) -> None:
        """Raise pydantic.ValidationError when a field is not what the model says."""
        type(self).model_validate(dict(self), by_name=True)


def record_named(namespace: str) -> type[Record]:
    """The class of a namespace; ValueError when nobody has declared it."""
    found = _BY_NAMESPACE.get(namespace)
    if found is None:
        raise ValueError(
            f"{namespace!r} names no record that is declared here: import the module that has it,"
            " or where it has moved or is named otherwise, say ns= of the class"
        )
    return found


def _refuse_options(name: str, options: Mapping[str, Any]) -> None:
    """TypeError for class arguments that nothing would come of."""
    for option, given in options.items():
        if option not in ALWAYS:
            raise TypeError(f"record {name}: {not_taken('Record', option, OPTIONS)}")
        value, why = ALWAYS[option]
        if given is not value:
            raise TypeError(f"record {name}: {option}={given!r} cannot be given: {why}")


def _check_kinds(name: str, ns: object, **switches: object) -> None:
    """TypeError for class arguments of another type."""
    if not isinstance(ns, str | None):
        raise TypeError(f"record {name}: ns= is a text, not {described(ns)}")
    for option, given in switches.items():
        if not isinstance(given, bool | None):
            raise TypeError(f"record {name}: {option}= is True or False, not {described(given)}")


def _no_field(model: str, name: str, there: Mapping[str, Any]) -> str:
    """What to say of a field that is none."""
    known = [*there.get("__pydantic_fields__", ())]
    close = difflib.get_close_matches(name, known, n=1)
    meant = f": is it {close[0]!r}?" if close else f" (there are {', '.join(known)})"
    return f"record {model} has no field {name!r}{meant}"


def _bare(data: Any) -> Any:
    """JSON's values without the entries that name the models of records."""
    if isinstance(data, list):
        return [_bare(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {name: _bare(each) for name, each in data.items() if name != METADATA}


def _passing_over_metadata(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Decodes as before, without the entries that name models."""
    mark = f'"{METADATA}"'.encode()

    def passing_over(data: bytes) -> Any:
        return decode(json.dumps(_bare(json.loads(data))).encode() if mark in data else data)

    return passing_over


def _with_metadata(model: type[Record]) -> Callable[[Any], bytes]:
    """Encodes records of a class, or of its subclasses, with their namespace."""

    def encode(value: Any) -> bytes:
        if not isinstance(value, model):
            raise mismatch(model.__name__, value)
        plain = value.model_dump(mode="json")
        plain[METADATA] = {"ns": type(value)._namespace()}
        return json.dumps(
            plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()

    return encode


def _any_of(model: type[Record]) -> Callable[[bytes], Any]:
    """Reads records of the subclasses of a class, by the namespace that each names."""
    decoders: dict[type[Record], Callable[[bytes], Any]] = {}

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
        if found not in decoders:
            decoders[found] = found._plain_codec().decode
        return decoders[found](data)

    return decode
