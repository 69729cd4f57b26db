"""What people look at: contact sheets and thumbnails of a record's series, and the page about its imaging."""

import msgspec
from litestar import Response, get

from api.ask import Asked
from api.paths import Id
from api.routes.spec import DERIVED
from application.pictures.page import STYLE_SOURCE
from application.pictures.pictures import Picture, SeriesPictures

_PNG_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
_PAGE_POLICY = (
    f"default-src 'none'; style-src {STYLE_SOURCE}; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)


class SeriesShown(msgspec.Struct, frozen=True, kw_only=True):
    """A series with its pictures, or why it has none.

    `tiles` has an outcome for each picture on the sheet: "" for one that shows, else why it does not.
    """

    label: str
    modality: str
    role: str
    images: int
    slices: int
    sheet: Picture | None
    thumbnail: Picture | None
    tiles: tuple[str, ...]
    reason: str


class PicturesShown(msgspec.Struct, frozen=True, kw_only=True):
    """The series of a record, in the order of their numbers."""

    record: str
    series: tuple[SeriesShown, ...]


@get("/cases/{case:str}/records/{record:str}/pictures", operation_id="listPictures", tags=["Records"], **DERIVED)
def list_pictures(reading: Asked, case: Id, record: Id) -> PicturesShown:
    """Pictures of an imaging record, made now where they have not been; the read is on record first."""
    index = reading.service.pictures.listing(reading.by, case, record)
    return PicturesShown(record=record, series=tuple(_shown(each) for each in index.series))


@get(
    "/cases/{case:str}/records/{record:str}/pictures/{sha256:str}",
    operation_id="getPicture",
    tags=["Records"],
    **DERIVED,
)
def get_picture(reading: Asked, case: Id, record: Id, sha256: Id) -> Response[bytes]:
    """One picture, as PNG; an overview, not for diagnosis. The read is on record first."""
    png = reading.service.pictures.picture(reading.by, case, record, sha256)
    return Response(png, media_type="image/png", headers=_headers(_PNG_POLICY))


@get("/cases/{case:str}/records/{record:str}/report", operation_id="getImagingReport", tags=["Records"], **DERIVED)
def get_imaging_report(reading: Asked, case: Id, record: Id) -> Response[bytes]:
    """One printable page about the imaging check of a record, as HTML; the read is on record first."""
    page = reading.service.pictures.report(reading.by, case, record)
    return Response(page.encode(), media_type="text/html", headers=_headers(_PAGE_POLICY))


def _headers(policy: str) -> dict[str, str]:
    return {"Content-Security-Policy": policy, "Cache-Control": "private, no-store"}


def _shown(series: SeriesPictures) -> SeriesShown:
    return SeriesShown(
        **{name: value for name, value in msgspec.structs.asdict(series).items() if name in _SHOWN},
    )


_SHOWN = frozenset(SeriesShown.__struct_fields__)
ANSWERS = (PicturesShown,)
HANDLERS = [list_pictures, get_picture, get_imaging_report]
