from ggl_lightning.audit.report.markdown import markdown_table


def row(defense, attack, psnr, ssim, **more):
    return {
        "defense": defense,
        "attack": attack,
        "psnr": psnr,
        "ssim": ssim,
        "psnr_random_mean": 10.0,
        "evaluations": 1001,
        "defense_guarantee": {},
        **more,
    }


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_means_over_images_of_every_defense_and_attack():
    rows = [
        row("none", "cma", 20.0, 0.5),
        row("none", "cma", 23.0, 0.7, psnr_random_mean=12.0),
        row("none", "adam", 30.0, 0.9, evaluations=1000),
        row("noise", "cma", 12.345, 0.1),
    ]
    assert cells(markdown_table(rows)) == [
        ["defense", "cma (1001 evaluations)", "adam (1000 evaluations)", "random"],
        ["---", "---", "---", "---"],
        ["none", "21.50 / 0.600", "30.00 / 0.900", "10.67"],
        ["noise", "12.35 / 0.100", "- / -", "10.00"],
    ]


def test_failed_cases_missing_metrics_and_controls():
    rows = [
        row("none", "cma", 20.0, None, role="attack", status="done"),
        row("none", "cma", None, None, role="attack", status="failed", evaluations=None),
        row("none", "cma", 35.0, 0.9, role="null_noise", status="done"),
        row(None, "cma", 40.0, 0.9, role="bound", status="done"),
    ]
    head, _, line = cells(markdown_table(rows))
    assert head == ["defense", "cma (1001 evaluations)", "random"]
    assert line == ["none", "20.00 / - (1 failed)", "10.00"]


def test_unequal_costs_and_guarantees_are_shown():
    rows = [
        row("dp", "bo", 9.0, 0.2, defense_guarantee={"epsilon": 4.876, "delta": 1e-5}),
        row("dp", "bo", 9.0, 0.2, evaluations=990),
    ]
    head, _, line = cells(markdown_table(rows))
    assert head[1] == "bo (990 to 1001 evaluations)"
    assert line[0] == "dp (epsilon 4.88 at delta 1e-05)"


def test_no_rows_is_a_table_without_lines():
    assert cells(markdown_table([])) == [["defense", "random"], ["---", "---"]]
