"""The metrics of `evaluation.json` as Markdown: a table to read, and all details."""

from __future__ import annotations

from utils.evaluation import self_consistency as coherence
from utils.evaluation.derived_quantities import OUTLIER_DZ, QUANTITIES
from utils.evaluation.markdown import number, rows_of, with_error
from utils.evaluation.method import GENERATED, TRUE_SPECTRA

ERRORS = {
    "mean": "mse_mean_ratio",
    "best": "mse_best_ratio",
    "best five": "mse_best_five_ratio",
    "medoid": "mse_medoid_ratio",
    "oracle": "mse_oracle_ratio",
}


def summary(metrics: dict) -> str:
    """`table.md`: errors, measured quantities, retrieval and colours in a few lines."""
    identity = metrics["identity"]
    lines = [
        f"{identity['galaxies']} galaxies of the {identity['split']} split, "
        f"{identity['sampling']['candidates']} candidates each. Squared errors relative to the "
        "constant predictor; coverage of the central 68 %.",
        "",
        *errors(metrics),
    ]
    if "quantities" in metrics:
        lines += [
            "Measurements on the candidates against those on the true spectra: scatter (σ_MAD) of "
            "the redshift, of Dn4000 and of log [N II]/Hα; rank correlations; active nuclei; and "
            "the share of spectra whose lines and absorption agree on a redshift within 300 km/s.",
            "",
            *measured(metrics),
        ]
    return "\n".join([*lines, *retrieval(metrics), *colours(metrics)]) + "\n"


def errors(metrics: dict) -> list[str]:
    """The table of errors in the flux."""
    header = ["candidates", *ERRORS, "CRPS", "CRPS / climatology", "coverage"]
    return rows_of(
        header,
        (
            [
                name,
                *(number(v.get(key)) for key in ERRORS.values()),
                number(v["crps"], 4),
                number(v["crps_ratio"]),
                number(v.get("coverage_68")),
            ]
            for name, v in metrics["methods"].items()
        ),
    )


def measured(metrics: dict) -> list[str]:
    """The short table of measured quantities."""
    quantities, agn = metrics["quantities"], metrics["active"]["kewley"]

    def cell(method: str, quantity: str, metric: str, digits: int = 3) -> str:
        entry = quantities.get(quantity, {}).get(method, {}).get(metric)
        return number(entry["value"] if entry else None, digits)

    header = ["candidates", "σ(z)", f"|Δz| > {OUTLIER_DZ:g}", "σ(Dn4000)", "r(Dn4000)"]
    header += ["r(EW Hα)", "σ([N II]/Hα)", "active: balanced accuracy", "coherent"]
    return rows_of(
        header,
        (
            [
                name,
                cell(name, "z", "scatter", 4),
                cell(name, "z", "outliers"),
                cell(name, "Dn4000", "scatter"),
                cell(name, "Dn4000", "correlation"),
                cell(name, "Halpha_ew", "correlation"),
                cell(name, "log_nii_halpha", "scatter"),
                number(agn.get(name, {}).get("balanced_accuracy", {}).get("value")),
                number(metrics["coherence"].get(name, {}).get("coherent", {}).get("value")),
            ]
            for name in (*metrics["methods"], TRUE_SPECTRA)
        ),
    )


def retrieval(metrics: dict) -> list[str]:
    """The lines on retrieval, one per pool."""
    lines = []
    for found in (metrics["retrieval"], metrics["retrieval_large"]):
        plain, swapped = (
            " / ".join(number(found[f"recall_{k}{kind}"]) for k in (1, 5, 10))
            for kind in ("", "_swapped")
        )
        line = f"Retrieval R@1/5/10 in a pool of {found['pool']:.0f}: {plain}; with another "
        line += f"galaxy's noise: {swapped}; median rank {found['median_rank_swapped']:.0f}."
        lines += [line, ""] if line not in lines else []
    return lines


def colours(metrics: dict) -> list[str]:
    """The line on synthetic photometry."""
    found = metrics["colours"]["methods"]
    if not found.get(GENERATED):
        return []
    parts = [
        f"{label} {' / '.join(number(c['median']['value']) for c in entry.values())} ± "
        f"{' / '.join(number(c['scatter']['value']) for c in entry.values())} mag"
        for label, entry in (("best candidates", found[GENERATED]), (TRUE_SPECTRA, found["truth"]))
    ]
    return [f"Colours g−r / r−i of the spectrum minus the image's: {'; '.join(parts)}.", ""]


def details(metrics: dict) -> str:
    """`details.md`: everything but histograms and curves."""
    lines = ["# Errors in the flux", "", *errors(metrics)]
    lines += ["## Generated minus baseline, with paired 95 % bootstrap intervals", ""]
    lines += ["A baseline without a ranking is represented by its mean instead of its best.", ""]
    lines += _differences(metrics)
    lines += ["# Calibration", "", *_calibration(metrics)]
    if "quantities" in metrics:
        lines += ["# Measured quantities", "", *_quantities(metrics)]
        lines += ["# Coherence", "", *coherence.tables(metrics)]
        lines += ["# Active nuclei", "", *_active(metrics)]
        lines += ["# Populations", "", *_populations(metrics)]
    lines += ["# Retrieval", "", *retrieval(metrics)]
    lines += ["# Colours against the image", "", *_colours(metrics)]
    lines += ["# Subgroups", "", *_subgroups(metrics)]
    return "\n".join(lines) + "\n"


def _differences(metrics: dict) -> list[str]:
    table = metrics["differences"]
    names = list(next(iter(table.values())))
    return rows_of(
        ["baseline", *names], ([b, *(_interval(row[n]) for n in names)] for b, row in table.items())
    )


def _calibration(metrics: dict) -> list[str]:
    found = metrics["calibration"]
    header = ["candidates", "coverage 50 %", "68 %", "95 %", "noise / true", "spread / error"]
    table = rows_of(
        [*header, "TARP, spectrum", "TARP, measured"],
        (
            [
                name,
                *(number(v.get(f"coverage_{level}")) for level in (50, 68, 95)),
                number(v.get("noise_ratio")),
                number(found[name]["spread_error"]["ratio"]),
                number(found[name]["tarp_distance"]),
                number(found[name].get("tarp_measured_distance")),
            ]
            for name, v in metrics["methods"].items()
        ),
    )
    return ["TARP: largest distance of the expected coverage from the diagonal.", "", *table]


def _quantities(metrics: dict) -> list[str]:
    lines = []
    for name, methods in metrics["quantities"].items():
        quantity = QUANTITIES[name]
        unit = f" / {quantity.unit}" if quantity.unit else ""
        extra = ["mean bias", f"|Δz| > {OUTLIER_DZ:g}"] if name == "z" else []
        header = [quantity.label + unit, "galaxies", "bias", "scatter", "rank correlation"]
        digits = 5 if name == "z" else 3
        lines += rows_of(
            [*header, "coverage 68 %", *extra],
            (
                [
                    method,
                    str(v["galaxies"]),
                    with_error(v.get("bias"), digits),
                    with_error(v.get("scatter"), digits),
                    with_error(v.get("correlation")),
                    number(v.get("coverage_68")),
                    *([with_error(v.get("mean_bias"), 5)] if extra else []),
                    *([with_error(v.get("outliers"))] if extra else []),
                ]
                for method, v in methods.items()
            ),
        )
    return lines


def _active(metrics: dict) -> list[str]:
    lines = []
    for boundary, methods in metrics["active"].items():
        header = [f"above {boundary.capitalize()}", "active of", "majority"]
        lines += rows_of(
            [*header, "accuracy", "balanced accuracy", "ROC-AUC"],
            (
                [
                    method,
                    f"{v['active']} of {v['galaxies']}",
                    number(v.get("majority")),
                    *(with_error(v.get(k)) for k in ("accuracy", "balanced_accuracy", "roc_auc")),
                ]
                for method, v in methods.items()
            ),
        )
    return lines


def _populations(metrics: dict) -> list[str]:
    header = ["candidates", "KS(Dn4000)", "old share (true)", "retired share (true)"]
    header += ["retired: accuracy", "KS(colour)", "mass–metallicity: rms of medians, r"]
    rows = []
    for method, v in metrics["populations"].items():
        peaks, retired, metals = (v[k] for k in ("bimodality", "retired", "mass_metallicity"))
        rows.append(
            [
                method,
                number(peaks.get("ks_distance")),
                f"{number(peaks.get('old_share'))} ({number(peaks.get('old_share_true'))})",
                f"{number(retired.get('share'))} ({number(retired.get('share_true'))})",
                with_error(retired.get("accuracy")),
                number(retired.get("colour_ks_distance")),
                f"{number(metals.get('rms_of_medians'))}, {with_error(metals.get('correlation'))}",
            ]
        )
    return rows_of(header, rows)


def _colours(metrics: dict) -> list[str]:
    found = metrics["colours"]
    if not found["methods"]:
        return ["The images have no calibrated g, r and i.", ""]
    lines = rows_of(
        ["spectra", "Δ(g−r) median", "scatter", "Δ(r−i) median", "scatter"],
        (
            [name, *(with_error(c[k]) for c in entry.values() for k in ("median", "scatter"))]
            for name, entry in found["methods"].items()
            if entry
        ),
    )
    return [*lines, *_rankings(found["rankings"])]


def _rankings(rankings: dict) -> list[str]:
    measured = next(iter(rankings.values())).get("measured", {})
    header = ["ranking", "MSE of the best", "minus contrastive", "of the best five", "difference"]
    return rows_of(
        [*header, *(f"σ({QUANTITIES[name].label}) of the best" for name in measured)],
        (
            [
                name,
                number(columns["mse_best"]["value"], 4),
                _interval(columns["mse_best"]["difference"]),
                number(columns["mse_best_five"]["value"], 4),
                _interval(columns["mse_best_five"]["difference"]),
                *(with_error(scatter, 4) for scatter in columns.get("measured", {}).values()),
            ]
            for name, columns in rankings.items()
        ),
    )


def _interval(entry: dict) -> str:
    low, value, high = (number(entry[k], 4) for k in ("low", "value", "high"))
    return f"{value} ({low} to {high})"


def _subgroups(metrics: dict) -> list[str]:
    groups = metrics["subgroups"]
    methods = list(metrics["methods"])
    lines = ["Squared error of the mean relative to the constant in the same subgroup / CRPS.", ""]
    return lines + rows_of(
        ["subgroup", "galaxies", *methods],
        (
            [
                group,
                str(entry["galaxies"]),
                *(
                    f"{number(v['mse_mean_ratio'])} / {number(v['crps'])}"
                    for v in entry["methods"].values()
                ),
            ]
            for group, entry in groups.items()
        ),
    )
