"""How Litestar comes to read bodies by `decode_body`: its extension point for decoding, and nothing else of it."""

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar

from litestar.dto import AbstractDTO, DTOConfig
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.exceptions import HTTPException
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition

from api.bodies import decode_body

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator

JSON = "application/json"


class StrictJson(AbstractDTO[Any]):
    """Decodes a handler's `data` strictly, as the type that it is annotated with."""

    config: ClassVar[DTOConfig] = DTOConfig()
    model_type = object
    _types: ClassVar[dict[str, Any]] = {}

    def decode_bytes(self, value: bytes) -> Any:
        """The body.

        Raises:
            HTTPException: 415, not said to be JSON.
            Told: not what is expected.
        """
        if self.asgi_connection.headers.get("content-type", "").split(";")[0].strip().lower() != JSON:
            raise HTTPException(status_code=415)
        return decode_body(value, self._types[self.asgi_connection.route_handler.handler_id])

    @classmethod
    def types(cls) -> tuple[Any, ...]:
        """Every type that some handler's body is decoded as."""
        return tuple(dict.fromkeys(cls._types.values()))

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Keep the type that a handler's body is decoded as."""
        cls._types[handler_id] = field_definition.annotation

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: "SchemaCreator"
    ) -> Reference | Schema:
        """The schema of the type itself."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def is_supported_model_type_field(cls, field_definition: FieldDefinition) -> bool:
        """Every type that msgspec decodes."""
        return True

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Nothing is transferred field by field."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Nothing is transferred field by field."""
        return False
