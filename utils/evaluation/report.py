"""The metrics of `evaluation.json` as Markdown: a table to read, and all details."""

from __future__ import annotations

from utils.evaluation import conditional, memorising, photometric_consistency, subgroups
from utils.evaluation import self_consistency as coherence
from utils.evaluation.columns import COLUMNS, HEADINGS, NOTES, find
from utils.evaluation.derived_quantities import OUTLIER_DZ, QUANTITIES
from utils.evaluation.markdown import interval, method_table, number, plus_minus, rows_of
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
    return "\n".join(lines) + "\n"


def _errors(part: dict) -> list[str]:
    names = ("mean", "median", "best", "best_five", "medoid", "oracle")
    labels = ("mean", "median", "top-ranked", "best five", "medoid", "oracle")
    columns = {k: f"mse_{n}_ratio" for k, n in zip(labels, names, strict=True)} | {"CRPS": "crps"}
    return method_table("MSE / constant", part["methods"], columns)


def _calibration(part: dict, galaxies: int) -> list[str]:
    found = part["calibration"]
    table = method_table(
        "candidates",
        {name: found[name] | v for name, v in part["methods"].items()},
        {
            **{f"{'coverage ' * (k == 50)}{k} %": f"coverage_{k}" for k in (50, 68, 95)},
            "noise / true": "noise_ratio",
            "spread / error": lambda v: number(v["spread_error"]["ratio"], 2),
            "TARP, spectrum": lambda v: number(v["tarp_distance"], 2),
            "TARP, measured": lambda v: number(v.get("tarp_measured_distance"), 2),
        },
    )
    limit = KOLMOGOROV / galaxies**0.5
    note = "TARP: largest distance of the expected coverage from the diagonal, below "
    note += f"{limit:.2f} for 95 % of calibrated generators."
    return [note, "", *table]


def _quantities(part: dict) -> list[str]:
    columns = {
        "galaxies": lambda v: str(v["galaxies"]),
        "bias": "bias",
        "scatter": "scatter",
        "rank correlation": "correlation",
        "coverage 68 %": "coverage_68",
    }
    of_redshift = {"mean bias": "mean_bias", f"Δz beyond {OUTLIER_DZ:g}": "outliers"}
    lines = []
    for name, methods in part["quantities"].items():
        quantity = QUANTITIES[name]
        title = quantity.label + (f" / {quantity.unit}" if quantity.unit else "")
        lines += method_table(title, methods, columns | (of_redshift if name == "z" else {}))
    return lines


def _active(part: dict) -> list[str]:
    columns = {
        "active of": lambda v: f"{v['active']} of {v['galaxies']}",
        "majority": lambda v: number(v.get("majority"), 2),
        "accuracy": "accuracy",
        "balanced accuracy": "balanced_accuracy",
        "ROC-AUC": "roc_auc",
    }
    lines = []
    for boundary, methods in part["active"].items():
        lines += method_table(f"above {boundary.capitalize()}", methods, columns)
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
    columns = {
        "MSE of the best": "mse_best",
        "minus contrastive": lambda v: interval(v["mse_best"]["difference"]),
        "of the best five": "mse_best_five",
        "difference": lambda v: interval(v["mse_best_five"]["difference"]),
    }
    for name in next(iter(rankings.values())).get("measured", {}):
        heading = f"σ({QUANTITIES[name].label}) of the best"
        columns[heading] = lambda v, name=name: plus_minus(v["measured"][name])
    return method_table("ranking", rankings, columns)
