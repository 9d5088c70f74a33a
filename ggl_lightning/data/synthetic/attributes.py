"""CelebA's 40 attributes, 5 landmarks and face box of a drawn photo.

Every attribute is a threshold on a quantity that the drawing uses, and is absent where
something drawn hides it (hair below a hat, eyes behind sunglasses). ``Attractive`` is a
judgement in CelebA; here it only names a fixed rule over drawn traits.
"""

from __future__ import annotations

from dataclasses import dataclass

from ggl_lightning.data.celeba_layout import ATTRIBUTES
from ggl_lightning.data.synthetic.body import DOUBLE_CHIN
from ggl_lightning.data.synthetic.canvas import HEIGHT, WIDTH
from ggl_lightning.data.synthetic.features import eye_opening, mouth_corner
from ggl_lightning.data.synthetic.head import chin_y
from ggl_lightning.data.synthetic.traits import RECEDING, Person, Photo


@dataclass(frozen=True)
class FaceDescription:
    """What CelebA's list files say about one image.

    Attributes:
        identity: Number of the person, from 1.
        attributes: Each of CelebA's 40 attribute names, in order, with its presence.
        landmarks: Left eye, right eye, nose tip, left and right mouth corner (left and right of
            the image) as ``x, y`` pairs: 10 pixel positions.
        box: Face box ``x, y, width, height`` in pixels of this image. (CelebA's own boxes refer
            to its uncropped photos.)
    """

    identity: int
    attributes: dict[str, bool]
    landmarks: tuple[int, ...]
    box: tuple[int, int, int, int]


def describe(identity: int, person: Person, photo: Photo) -> FaceDescription:
    """Describes the photo that `render.render` draws of ``person``."""
    return FaceDescription(
        identity, _attributes(person, photo), _landmarks(person, photo), _box(person, photo)
    )


def _attributes(p: Person, photo: Photo) -> dict[str, bool]:
    hat = photo.hat != "none"
    eyes_visible = photo.glasses != "sun"
    long_hair = p.hair_end_y > 20
    hair_visible = not p.bald and (not hat or long_hair)
    coloured = hair_visible and p.gray <= 0.25
    young = p.age < 0.55
    nose = p.nose_width + 3 * (p.nose_size - 1)
    cheekbones = p.cheekbones + 0.7 * max(0.0, photo.smile)
    chubby = p.fullness > 0.62
    oval = p.jaw_width < 0.93 and p.fullness < 0.42
    present = {
        "5_o_Clock_Shadow": p.stubble > 0 and p.beard == 0,
        "Arched_Eyebrows": p.brow_arch > 3.3,
        "Attractive": young
        and p.fullness < 0.55
        and p.bags < 0.56
        and (photo.makeup > 0.3 or cheekbones > 0.45),
        "Bags_Under_Eyes": eyes_visible and p.bags > 0.56,
        "Bald": p.bald and not hat,
        "Bangs": p.bangs and not hat,
        "Big_Lips": p.upper_lip + p.lower_lip > 8.9,
        "Big_Nose": nose > 9.1,
        "Black_Hair": coloured and p.hair_shade < 0.20,
        "Blond_Hair": coloured and p.hair_shade > 0.70 and not p.red,
        "Blurry": photo.blurry,
        "Brown_Hair": coloured and 0.32 < p.hair_shade < 0.56 and not p.red,
        "Bushy_Eyebrows": p.brow_thickness > 2.65,
        "Chubby": chubby,
        "Double_Chin": p.fullness > DOUBLE_CHIN,
        "Eyeglasses": photo.glasses != "none",
        "Goatee": p.goatee > 0,
        "Gray_Hair": hair_visible and p.gray > 0.5,
        "Heavy_Makeup": photo.makeup > 0.55,
        "High_Cheekbones": cheekbones > 0.80,
        "Male": p.male,
        "Mouth_Slightly_Open": photo.mouth_open > 0,
        "Mustache": p.moustache > 0,
        "Narrow_Eyes": eyes_visible and eye_opening(p, photo) < 2.95,
        "No_Beard": not (p.stubble or p.moustache or p.goatee or p.beard),
        "Oval_Face": oval,
        "Pale_Skin": p.skin_tone < 0.07,
        "Pointy_Nose": p.nose_width < 7.6,
        "Receding_Hairline": p.receding > RECEDING and not p.bald and not hat,
        "Rosy_Cheeks": photo.rosy > 0.52,
        "Sideburns": p.sideburns > 0,
        "Smiling": photo.smile > 0.4,
        "Straight_Hair": hair_visible and p.wave < 0.45,
        "Wavy_Hair": hair_visible and p.wave > 2.5,
        "Wearing_Earrings": photo.earrings,
        "Wearing_Hat": hat,
        "Wearing_Lipstick": photo.lipstick > 0,
        "Wearing_Necklace": photo.necklace,
        "Wearing_Necktie": photo.necktie,
        "Young": young,
    }
    return {name: present[name] for name in ATTRIBUTES}


def _landmarks(p: Person, photo: Photo) -> tuple[int, ...]:
    corner_x, corner_y = mouth_corner(p, photo)
    points = (
        (-p.eye_x, 0.0),
        (p.eye_x, 0.0),
        (0.0, p.nose_tip_y),
        (-corner_x, corner_y),
        (corner_x, corner_y),
    )
    return tuple(round(v) for x, y in points for v in photo.pose.project(x, y))


def _box(p: Person, photo: Photo) -> tuple[int, int, int, int]:
    bottom = chin_y(p, photo)
    edge = [
        photo.pose.project(x, y)
        for x, y in ((-p.cheek_width, 4), (p.cheek_width, 4), (0, -46), (0, bottom))
    ]
    left = max(0, round(min(x for x, _ in edge)))
    right = min(WIDTH - 1, round(max(x for x, _ in edge)))
    top = max(0, round(min(y for _, y in edge)))
    low = min(HEIGHT - 1, round(max(y for _, y in edge)))
    return left, top, right - left + 1, low - top + 1
