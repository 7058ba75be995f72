"""Cases of what predictors do before a model, to the bit: bytes are resized, coordinates scaled."""

from parity.cases.calls import function
from parity.cases.family import family, row
from parity.cases.processing import picture
from parity.execution.case import literal

_SIZES = ((150, 200), (61, 83), (37, 29), (3, 150), (90, 1), (1, 1), (64, 64))

_PIXELS = tuple(
    case
    for height, width in _SIZES
    for case in family(block="pixels_for_sam", exact=True, double=False).of(
        **{
            f"{height}x{width}": row(
                f"a picture of {height} by {width}, resized in bytes by Pillow's bilinear rule to fit",
                inputs={"picture": picture(height, width)},
                call=function("pixels_for_sam", 64),
            )
        }
    )
)
_PLACES = {
    "points": literal([[[9.3, 30.2], [0.0, 0.0], [28.99, 36.5]], [[1.1, 17.7], [14.0, 3.3], [29.0, 37.0]]])
}
_COORDINATES = (
    *family(exact=True, inputs=_PLACES, name="picture").of(
        coords_for_sam=row(
            "coordinates are multiplied by new over old sides, in float64, and rounded once",
            call=function("coords_for_sam", (37, 29), 64),
        ),
        tensor_coords_for_sam=row(
            "coordinates in a tensor are scaled in float32",
            call=function("tensor_coords_for_sam", (37, 29), 64),
            double=False,
        ),
    ),
    *family(block="coords_for_sam2", exact=True, inputs=_PLACES).of(
        picture=row(
            "coordinates are divided by the picture's sides, then multiplied by the model's: two roundings",
            call=function("coords_for_sam2", (37, 29), 128, True),
        ),
        fractions=row(
            "coordinates that are fractions are multiplied alone",
            call=function("coords_for_sam2", (37, 29), 128, False),
        ),
    ),
)

CASES = _PIXELS + _COORDINATES
