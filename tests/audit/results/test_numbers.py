import json
import math

import pytest

from ggl_lightning.audit.results.numbers import dumps, with_infinities, without_nan
from ggl_lightning.audit.results.reading import UnreadableResultError, read_row
from ggl_lightning.audit.results.schema import CASE_FIELDS
from ggl_lightning.audit.run.table import format_table
from tests.audit.result_rows import case


def test_infinities_survive_strict_json():
    row = {
        "psnr": math.inf,
        "low": -math.inf,
        "defense": "Infinity",
        "record": "-Infinity",
        "details": {"trial_losses": [1.0, math.inf]},
    }
    text = dumps(row)
    json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    assert json.loads(text, object_pairs_hook=lambda p: dict(with_infinities(p))) == row


def test_what_is_not_a_number_is_missing_with_a_reason():
    found = without_nan({"ssim": math.nan, "mse": 0.1, "missing_metrics": {"x": "y"}})
    assert found == {
        "ssim": None,
        "mse": 0.1,
        "missing_metrics": {"x": "y", "ssim": "it is not a number (NaN)"},
    }
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps({"ssim": math.nan})


@pytest.mark.parametrize("written", ["Infinity", '"Infinity"'])
def test_results_of_before_and_after_are_read(tmp_path, written):
    file = tmp_path / "result.json"
    file.write_text(json.dumps(case(psnr="PSNR")).replace('"PSNR"', written))
    assert read_row(file, CASE_FIELDS)["psnr"] == math.inf
    file.write_text(json.dumps(case(psnr="PSNR")).replace('"PSNR"', "NaN"))
    with pytest.raises(UnreadableResultError, match="NaN"):
        read_row(file, CASE_FIELDS)


def test_the_table_shows_exact_and_missing_values(tmp_path):
    exact = case(mse=0.0, psnr=math.inf, psnr_random_mean=math.inf, label_correct=True)
    text = format_table([exact | {"ssim": None}], tmp_path).splitlines()[1].split()
    assert text[text.index("right") + 1 :] == [
        "0.0000",
        "inf",
        "inf",
        "+0.00",
        "\u2014",
        "100",
        "2.0",
    ]
