"""What is fitted once is kept under all that it depends on."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ggl_lightning.attacks.fits import MemoryFits, fit_name

_KEYS = st.dictionaries(st.text(), st.integers() | st.text() | st.booleans(), max_size=4)


@given(_KEYS)
def test_the_order_of_a_key_does_not_matter(key: dict[str, object]) -> None:
    assert fit_name(key) == fit_name(dict(reversed(key.items())))


@given(_KEYS, _KEYS)
def test_other_keys_have_other_names(one: dict[str, object], other: dict[str, object]) -> None:
    same = list(map(repr, sorted(one.items()))) == list(map(repr, sorted(other.items())))
    assert (fit_name(one) == fit_name(other)) == same


def test_a_fit_is_made_once_a_key() -> None:
    fits, made = MemoryFits(), []

    def make() -> dict[str, torch.Tensor]:
        made.append(len(made))
        return {"weights": torch.tensor(made[-1])}

    assert [int(fits.get({"label": label}, make)["weights"]) for label in (0, 1, 0)] == [0, 1, 0]
