"""The metrics of `evaluation.json` as Markdown: a table to read, and all details."""

from __future__ import annotations

from utils.evaluation import conditional, memorising, photometric_consistency, subgroups
from utils.evaluation import self_consistency as coherence
from utils.evaluation.columns import COLUMNS, HEADINGS, NOTES, find
from utils.evaluation.derived_quantities import OUTLIER_DZ, QUANTITIES
from utils.evaluation.markdown import interval, number, plus_minus, rows_of
from utils.evaluation.method import PHOTOMETRY, SHIFTED
from utils.evaluation.question import OBSERVED, QUESTIONS, REDSHIFT, REST
from utils.evaluation.redshift_scores import pit_table

KOLMOGOROV = 1.36  # 95 % of the largest distances of N samples from their distribution, times √N
DIFFERENCES = {  # score: heading
    "crps": "CRPS",
    "energy": "energy score",
    "energy_100": "energy score, 100 Å",
    "mse_mean": "MSE of the mean",
    "mse_best": "of the top-ranked",
}


def summary(metrics: dict) -> str:
    """`table.md`: one table per question, and the generator against each row."""
    identity = metrics["identity"]
    lines = [
        f"{identity['galaxies']} galaxies of the {identity['split']} split, "
        f"{identity['sampling']['candidates']} candidates each; ± standard errors over galaxies.",
        "",
    ]
    for question in QUESTIONS:
        if metrics.get(question):
            heading = f"## {_heading(metrics, question)}"
            lines += [heading, "", NOTES[question], ""]
            lines += main_table(metrics[question], question)
    lines += ["## Generated minus the others, on the same galaxies (95 % intervals)", ""]
    lines += differences(metrics)
    return "\n".join([*lines, *retrieval(metrics)]) + "\n"


def _heading(metrics: dict, question: str) -> str:
    """The heading of a question, for the spectrum as observed with what the generator was given."""
    if question != OBSERVED:
        return HEADINGS[question]
    conditions = metrics["identity"]["given"]
    redshift, snr = (conditions[name].replace("sampled", "unknown") for name in (REDSHIFT, "snr"))
    if redshift == snr == "unknown":
        return f"{HEADINGS[question]}, redshift and S/N unknown"
    return f"{HEADINGS[question]}, redshift {redshift}, S/N {snr}"


def main_table(part: dict, question: str) -> list[str]:
    """The main table of a question, one row per method; columns without any entry are left out."""
    methods = list(part["methods"])
    cells = {
        column.label: [plus_minus(find(part, column.path, m), column.scale) for m in methods]
        for column in COLUMNS[question]
        if any(find(part, column.path, m) for m in methods)
    }
    return rows_of(
        ["candidates", *cells],
        ([method, *(c[k] for c in cells.values())] for k, method in enumerate(methods)),
    )


def differences(metrics: dict) -> list[str]:
    """Paired differences of the scores, in units of the climatology's or the constant's."""
    lines = ["A row without a ranking is represented by its mean instead of its top-ranked.", ""]
    redshift = metrics.get(REDSHIFT)
    if redshift:
        lines += rows_of(
            ["generated minus", "1000 CRPS(z)"],
            ([name, interval(row["crps"], 1000)] for name, row in redshift["differences"].items()),
        )
    for question in (REST, OBSERVED):
        if question in metrics:
            lines += [f"{_heading(metrics, question)}:", ""]
            lines += rows_of(
                ["generated minus", *DIFFERENCES.values()],
                (
                    [name, *(interval(row.get(score)) for score in DIFFERENCES)]
                    for name, row in metrics[question]["differences"].items()
                ),
            )
    return lines


def retrieval(metrics: dict) -> list[str]:
    """The lines on retrieval, one per pool."""
    lines = []
    for name in ("retrieval", "retrieval_large"):
        if name not in metrics:
            continue
        found = metrics[name]
        plain, swapped = (
            " / ".join(_share(found[f"recall_{k}{kind}"], found["pool"]) for k in (1, 5, 10))
            for kind in ("", "_swapped")
        )
        line = f"Retrieval R@1/5/10 in a pool of {found['pool']:.0f}: {plain}; with another "
        line += f"galaxy's noise: {swapped}; median rank {found['median_rank_swapped']:.0f}."
        lines += [line, ""] if line not in lines else []
    return lines


def _share(value: float, count: float) -> str:
    """A share of `count` galaxies with its binomial standard error."""
    return plus_minus({"value": value, "error": (value * (1 - value) / count) ** 0.5})


def details(metrics: dict) -> str:
    """`details.md`: everything but histograms and curves."""
    lines = ["# Tables", "", summary(metrics)]
    if metrics.get(REDSHIFT):
        lines += ["# The redshift: calibration", "", *pit_table(metrics[REDSHIFT])]
    galaxies = metrics["identity"]["galaxies"]
    for question in (REST, OBSERVED):
        if question not in metrics:
            continue
        part = metrics[question]
        heading = f"# {_heading(metrics, question)}"
        lines += [heading, "", "## All errors", "", *_errors(part)]
        lines += ["## Calibration", "", *_calibration(part, galaxies)]
        if "quantities" in part:
            lines += ["## Measured quantities", "", *_quantities(part)]
            lines += ["## Active nuclei", "", *_active(part)]
    if "coherence" in metrics[OBSERVED]:
        lines += ["# Coherence", "", *coherence.tables(metrics[OBSERVED])]
        lines += ["# Populations", "", *_populations(metrics[OBSERVED], galaxies)]
    lines += ["# Calibration by magnitude and redshift", ""]
    lines += conditional.table(metrics["conditional"])
    lines += ["# Classes of galaxies", ""]
    for question, baseline in ((REST, SHIFTED), (OBSERVED, PHOTOMETRY)):
        if question in metrics["subgroups"]:
            heading = _heading(metrics, question)
            lines += [f"{heading}; scores relative to the climatology's:", ""]
            lines += subgroups.table(metrics["subgroups"][question], baseline)
    lines += ["# Photometry against the image", "", *_photometry(metrics["photometry"])]
    lines += [
        "# Distance to training spectra",
        "",
        *memorising.table(metrics["memorising"]["distances"]),
    ]
    return "\n".join([*lines, "# Retrieval", "", *retrieval(metrics)]) + "\n"


def _errors(part: dict) -> list[str]:
    names = ("mse_mean", "mse_median", "mse_best", "mse_best_five", "mse_medoid", "mse_oracle")
    header = ["MSE / constant", "mean", "median", "top-ranked", "best five", "medoid", "oracle"]
    return rows_of(
        [*header, "CRPS"],
        (
            [
                method,
                *(plus_minus(v.get(f"{name}_ratio")) for name in names),
                plus_minus(v["crps"]),
            ]
            for method, v in part["methods"].items()
        ),
    )


def _calibration(part: dict, galaxies: int) -> list[str]:
    found = part["calibration"]
    header = ["candidates", "coverage 50 %", "68 %", "95 %", "noise / true", "spread / error"]
    table = rows_of(
        [*header, "TARP, spectrum", "TARP, measured"],
        (
            [
                name,
                *(plus_minus(v.get(f"coverage_{level}")) for level in (50, 68, 95)),
                plus_minus(v.get("noise_ratio")),
                number(found[name]["spread_error"]["ratio"], 2),
                number(found[name]["tarp_distance"], 2),
                number(found[name].get("tarp_measured_distance"), 2),
            ]
            for name, v in part["methods"].items()
        ),
    )
    limit = KOLMOGOROV / galaxies**0.5
    note = "TARP: largest distance of the expected coverage from the diagonal, below "
    note += f"{limit:.2f} for 95 % of calibrated generators."
    return [note, "", *table]


def _quantities(part: dict) -> list[str]:
    lines = []
    for name, methods in part["quantities"].items():
        quantity = QUANTITIES[name]
        unit = f" / {quantity.unit}" if quantity.unit else ""
        extra = {"mean_bias": "mean bias", "outliers": f"Δz beyond {OUTLIER_DZ:g}"}
        extra = extra if name == "z" else {}
        header = [quantity.label + unit, "galaxies", "bias", "scatter", "rank correlation"]
        lines += rows_of(
            [*header, "coverage 68 %", *extra.values()],
            (
                [
                    method,
                    str(v["galaxies"]),
                    plus_minus(v.get("bias")),
                    plus_minus(v.get("scatter")),
                    plus_minus(v.get("correlation")),
                    plus_minus(v.get("coverage_68")),
                    *(plus_minus(v.get(key)) for key in extra),
                ]
                for method, v in methods.items()
            ),
        )
    return lines


def _active(part: dict) -> list[str]:
    lines = []
    for boundary, methods in part["active"].items():
        header = [f"above {boundary.capitalize()}", "active of", "majority"]
        lines += rows_of(
            [*header, "accuracy", "balanced accuracy", "ROC-AUC"],
            (
                [
                    method,
                    f"{v['active']} of {v['galaxies']}",
                    number(v.get("majority"), 2),
                    *(plus_minus(v.get(k)) for k in ("accuracy", "balanced_accuracy", "roc_auc")),
                ]
                for method, v in methods.items()
            ),
        )
    return lines


def _populations(part: dict, galaxies: int) -> list[str]:
    limit = KOLMOGOROV * (2 / galaxies) ** 0.5
    note = f"KS: distance of two distributions, below {limit:.2f} for 95 % of equal ones."
    header = ["candidates", "KS(Dn4000)", "old share (true)", "retired share (true)"]
    header += ["retired: accuracy", "KS(colour)", "mass–metallicity: rms of medians, r"]
    rows = []
    for method, v in part["populations"].items():
        peaks, retired, metals = (v[k] for k in ("bimodality", "retired", "mass_metallicity"))
        rows.append(
            [
                method,
                number(peaks.get("ks_distance")),
                f"{number(peaks.get('old_share'))} ({number(peaks.get('old_share_true'))})",
                f"{number(retired.get('share'))} ({number(retired.get('share_true'))})",
                plus_minus(retired.get("accuracy")),
                number(retired.get("colour_ks_distance")),
                f"{number(metals.get('rms_of_medians'))}, {plus_minus(metals.get('correlation'))}",
            ]
        )
    return [note, "", *rows_of(header, rows)]


def _photometry(found: dict) -> list[str]:
    if not found["colours"]:
        return ["The images have no calibrated g, r and i.", ""]
    lines = ["Δ of a band: magnitude of the best candidate, scaled to the other bands, minus the "]
    lines[0] += "image's; coverage of all candidates; rank correlation with r and g − r."
    lines += ["", *photometric_consistency.table(found["bands"])]
    lines += rows_of(
        ["spectra", "Δ(g−r) median", "scatter", "Δ(r−i) median", "scatter"],
        (
            [name, *(plus_minus(c[k]) for c in entry.values() for k in ("median", "scatter"))]
            for name, entry in found["colours"].items()
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
                plus_minus(columns["mse_best"]),
                interval(columns["mse_best"]["difference"]),
                plus_minus(columns["mse_best_five"]),
                interval(columns["mse_best_five"]["difference"]),
                *(plus_minus(scatter) for scatter in columns.get("measured", {}).values()),
            ]
            for name, columns in rankings.items()
        ),
    )
