import pytest
import torch
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.metrics import AttributeAgreement


class Says(nn.Module):
    """A classifier that reads its logits off the first pixels of the red channel."""

    def __init__(self, classes: int, flat: bool = False) -> None:
        super().__init__()
        self.classes, self.flat = classes, flat

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = images[:, 0, 0, : self.classes]
        return logits.flatten() if self.flat else logits


def images(*pixels: list[float]) -> torch.Tensor:
    found = torch.zeros(len(pixels), 3, 4, 4)
    found[:, 0, 0, :3] = torch.tensor(pixels)
    return found


CLASSIFIERS = {
    "smile.wide": Says(1).eval(),
    "glasses": Says(1, True).eval(),
    "hair": Says(3).eval(),
}
PRIVATE = images([0.5, 0.9, 0.1], [-0.5, -0.2, 0.3])
FOUND = images([0.1, -0.3, 0.0], [-0.1, -0.2, 0.7])
# First image: signs agree, the largest is the second and then the first: 2 of 3. Second: 3 of 3.


def test_is_the_share_of_attributes_on_which_they_agree():
    metric = AttributeAgreement(CLASSIFIERS)
    assert metric(FOUND, PRIVATE).item() == pytest.approx(5 / 6)
    assert metric(PRIVATE, PRIVATE).item() == 1
    assert metric.compute().item() == pytest.approx((5 / 6 + 1) / 2)
    assert metric.attributes == ("smile.wide", "glasses", "hair")
    flipped = AttributeAgreement({"smile": Says(1).eval()})
    assert flipped(-FOUND, PRIVATE).item() == 0


def test_classifiers_must_be_there_and_in_eval_mode():
    with pytest.raises(UserError, match="at least one"):
        AttributeAgreement({})
    with pytest.raises(UserError, match=r"'smile' is in train mode.*eval\(\)"):
        AttributeAgreement({"smile": Says(1)})
