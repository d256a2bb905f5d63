"""`generate.py` as its users call it, on a tiny network."""

import csv
import os
import shutil
import threading
import warnings

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from PIL import Image
from specutils import Spectrum

import generate
import train_generative
from datasets.cutouts.export import export
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from tests.support import tiny
from utils.core.checkpoints import load_generator
from utils.generation import batch_run, products
from utils.generation.fits_output import read_spectrum
from utils.generation.pipeline import Pipeline


@pytest.fixture(scope="module")
def cutouts(tiny_survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("input") / "cutouts"
    export(Survey(tiny_survey), folder, "test", 4)
    return folder


def run(cutouts, checkpoint, output, *more):
    arguments = [str(cutouts), "--checkpoint", str(checkpoint), "--output", str(output)]
    return generate.main([*arguments, "--device", "cpu", "--workers", "0", *more])


@pytest.fixture(scope="module")
def generated(cutouts, tiny_generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("output") / "spectra"
    assert run(cutouts, tiny_generator, folder) == 0
    return folder


def spectra(folder):
    return {path.stem: read_spectrum(path) for path in sorted((folder / "spectra").iterdir())}


def plt_image(path):
    """A picture as an array of 0 ... 1."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def test_every_cutout_gets_its_files(generated, cutouts):
    names = {path.stem for path in cutouts.iterdir()}
    assert len(names) == 4
    assert {path.stem for path in (generated / "spectra").iterdir()} == names
    assert {path.stem for path in (generated / "pictures").iterdir()} == names
    sheet = plt_image(generated / "contact_sheet_001.png")
    assert sheet.ndim == 3 and sheet.std() > 0.05  # four panels on white


def test_specutils_opens_a_spectrum_without_arguments(generated):
    path = next((generated / "spectra").iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # specutils' own, about units
        spectrum = Spectrum.read(path)
    assert spectrum.spectral_axis[0].to_value("Angstrom") == 4000.0
    assert spectrum.shape == (4500,) and spectrum.flux.unit.is_equivalent("erg / (s cm2 Angstrom)")
    ours = read_spectrum(path)
    np.testing.assert_allclose(
        spectrum.flux.to_value("1e-17 erg / (s cm2 Angstrom)"), ours.best * ours.scale, rtol=1e-6
    )
    np.testing.assert_allclose(
        spectrum.uncertainty.quantity.to_value("1e-17 erg / (s cm2 Angstrom)"),
        ours.sigma * ours.scale,
        rtol=1e-6,
    )


def test_catalogue_has_a_row_per_galaxy_with_exact_identifiers(generated, tiny_survey):
    table = Table.read(generated / "catalogue.fits")
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:4]
    assert sorted(table["identifier"]) == sorted(survey.catalogue["identifier"][rows])
    assert [table[name].dtype.newbyteorder("=") for name in ("identifier", "ra")] == ["i8", "f8"]


def test_the_catalogue_has_the_redshifts_that_were_sampled(generated):
    table = Table.read(generated / "catalogue.fits")
    for name, value, error in table.iterrows("name", "redshift_sampled", "redshift_sampled_err"):
        sampled = spectra(generated)[name].redshifts
        low, median, high = np.percentile(sampled, [16, 50, 84])
        assert (value, error) == pytest.approx((median, (high - low) / 2), abs=1e-7)


def test_best_candidate_has_the_highest_score(generated):
    for spectrum in spectra(generated).values():
        assert np.all(np.diff(spectrum.scores) <= 0)
        assert len(spectrum.candidates) == 3 and np.isfinite(spectrum.candidates).all()


def assert_same(ours, theirs, exactly=False):
    assert ours.keys() == theirs.keys()
    for name, spectrum in ours.items():
        order = [list(theirs[name].numbers).index(number) for number in spectrum.numbers]
        tolerance = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-4, "atol": 1e-5}
        np.testing.assert_allclose(theirs[name].candidates[order], spectrum.candidates, **tolerance)


def test_same_seed_same_spectra_and_another_seed_others(
    generated, cutouts, tiny_generator, tmp_path
):
    run(cutouts, tiny_generator, tmp_path / "same", "--no-pictures")
    assert_same(spectra(generated), spectra(tmp_path / "same"), exactly=True)
    run(cutouts, tiny_generator, tmp_path / "other", "--no-pictures", "--seed", "2")
    before, after = spectra(generated), spectra(tmp_path / "other")
    assert all(not np.allclose(before[n].mean, after[n].mean, atol=1e-2) for n in before)


def test_spectra_depend_neither_on_batch_nor_on_company(
    generated, cutouts, tiny_generator, tmp_path
):
    run(cutouts, tiny_generator, tmp_path / "ones", "--no-pictures", "--batch-size", "1")
    assert_same(spectra(generated), spectra(tmp_path / "ones"))
    last = sorted(cutouts.iterdir())[-1]
    run(last, tiny_generator, tmp_path / "alone", "--no-pictures")
    alone = spectra(tmp_path / "alone")
    assert_same(alone, {last.stem: spectra(generated)[last.stem]})


def test_other_processes_write_the_same_spectra(generated, cutouts, tiny_generator, tmp_path):
    assert run(cutouts, tiny_generator, tmp_path / "out", "--workers", "1") == 0
    assert_same(spectra(tmp_path / "out"), spectra(generated), exactly=True)


def test_batches_that_are_computed_together_give_the_same_spectra(
    cutouts, tiny_generator, tmp_path, monkeypatch
):
    original, both = Pipeline.generate, threading.Barrier(2, timeout=60)

    def generate_together(self, *given, **options):
        both.wait()  # until two batches are at work
        assert torch.get_num_threads() == 1
        return original(self, *given, **options)

    threads = torch.get_num_threads()
    single = "--no-pictures", "--batch-size", "1"
    try:
        torch.set_num_threads(1)
        run(cutouts, tiny_generator, tmp_path / "alone", *single)
        torch.set_num_threads(2)
        monkeypatch.setattr(batch_run, "usable_cores", lambda: 2)
        monkeypatch.setattr(Pipeline, "generate", generate_together)
        run(cutouts, tiny_generator, tmp_path / "together", *single)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert_same(spectra(tmp_path / "alone"), spectra(tmp_path / "together"), exactly=True)


def test_one_bad_cutout_is_reported_and_stops_nothing(cutouts, tiny_generator, tmp_path, capsys):
    folder = tmp_path / "cutouts"
    shutil.copytree(cutouts, folder)
    (folder / "broken.fits").write_text("not a FITS file")
    np.save(folder / "empty.npy", np.zeros((5, 64, 64), np.float32))
    assert run(folder, tiny_generator, tmp_path / "out", "--no-pictures") == 1
    assert "2 cutouts rejected" in capsys.readouterr().err
    with open(tmp_path / "out" / "rejected.csv") as file:
        reasons = {row["file"].rsplit("/", 1)[-1]: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == {"broken.fits", "empty.npy"} and all(reasons.values())
    assert len(spectra(tmp_path / "out")) == 4
    again = run(
        folder, tiny_generator, tmp_path / "out", "--no-pictures", "--resume", "--allow-rejects"
    )
    assert again == 0


def test_a_stopped_run_goes_on_where_it_was(
    generated, cutouts, tiny_generator, tmp_path, monkeypatch
):
    from utils.generation import fits_output

    written = []
    write = fits_output.write_spectrum

    def killed(path, spectrum):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, spectrum)

    with monkeypatch.context() as patch:
        patch.setattr(fits_output, "write_spectrum", killed)
        with pytest.raises(KeyboardInterrupt):
            run(cutouts, tiny_generator, tmp_path / "out", "--no-pictures", "--batch-size", "2")
    times = {path: path.stat().st_mtime_ns for path in written}
    assert run(cutouts, tiny_generator, tmp_path / "out", "--no-pictures", "--resume") == 0
    assert {path: path.stat().st_mtime_ns for path in written} == times
    assert_same(spectra(generated), spectra(tmp_path / "out"))
    assert len(Table.read(tmp_path / "out" / "catalogue.fits")) == 4


def test_redshifts_are_sampled_from_the_image_unless_given(
    generated, cutouts, tiny_generator, tmp_path, capsys
):
    for spectrum in spectra(generated).values():
        edges, probability = spectrum.redshift_pdf
        assert probability.sum() == pytest.approx(1, abs=1e-4)
        inside = (spectrum.redshifts >= edges[0]) & (spectrum.redshifts <= edges[-1])
        assert inside.all() and len(set(spectrum.redshifts)) == 3
    run(cutouts, tiny_generator, tmp_path / "given", "--no-pictures", "--redshift", "0.1")
    given = spectra(tmp_path / "given")
    assert all(np.all(s.redshifts == np.float32(0.1)) for s in given.values())
    capsys.readouterr()
    assert run(cutouts, tiny_generator, tmp_path / "far", "--redshift", "2.0") == 2
    assert "--redshift 2.0: trained for" in capsys.readouterr().err


def redshift_of(spectrum):
    """Of each candidate by its number, however they are ranked."""
    return dict(zip(spectrum.numbers.tolist(), spectrum.redshifts.tolist(), strict=True))


def test_a_spectrum_is_as_clean_as_requested(generated, cutouts, tiny_generator, tmp_path):
    run(cutouts, tiny_generator, tmp_path / "clean", "--no-pictures", "--snr", "inf")
    clean, drawn = spectra(tmp_path / "clean"), spectra(generated)
    for name, spectrum in drawn.items():
        assert np.isfinite(spectrum.snrs).all() and (spectrum.snrs > 0).all()
        assert np.isinf(clean[name].snrs).all()
        assert redshift_of(clean[name]) == redshift_of(spectrum)  # all else is the same
    with pytest.raises(SystemExit):
        run(cutouts, tiny_generator, tmp_path / "none", "--snr", "0")


def test_redshifts_from_a_table(generated, cutouts, tiny_generator, tmp_path, capsys):
    names = sorted(path.stem for path in cutouts.iterdir())
    table = tmp_path / "photoz.csv"
    table.write_text(f"file,z_phot\n{names[0]}.fits,0.07\n{names[1]},0.08\n{names[2]},0.9\n")
    options = ["--catalogue", str(table), "--redshift-column", "z_phot"]
    out = tmp_path / "out"
    assert run(cutouts, tiny_generator, out, *options) == 1
    said = capsys.readouterr()
    assert "for 1 cutouts: no redshift in photoz.csv: sampled from the image" in said.out
    assert "1 cutouts rejected" in said.err
    (refused,) = csv.DictReader((out / "rejected.csv").read_text().splitlines())
    assert f"{names[2]}: redshift 0.9 in photoz.csv: trained for 0.05" in refused["reason"]
    found = spectra(out)
    assert found.keys() == {names[0], names[1], names[3]}
    for name, redshift in zip(names, (0.07, 0.08), strict=False):
        assert fits.getheader(out / "spectra" / f"{name}.fits")["REDSHIFT"] == redshift
        assert np.all(found[name].redshifts == np.float32(redshift))
    drawn = spectra(generated)[names[3]]
    # in a batch of another size, sums of the networks may round otherwise
    np.testing.assert_allclose(found[names[3]].redshifts, drawn.redshifts, rtol=1e-6)
    options += ["--resume", "--allow-rejects", "--no-pictures"]
    assert run(cutouts, tiny_generator, out, *options) == 0
    table.write_text(table.read_text().replace("0.08", "0.09"))
    assert run(cutouts, tiny_generator, out, *options) == 2
    assert "other values of catalogue" in capsys.readouterr().err


def test_a_row_that_names_two_cutouts_is_refused(cutouts, tiny_generator, tmp_path, capsys):
    for folder, path in zip("ab", cutouts.iterdir(), strict=False):
        (tmp_path / folder).mkdir()
        shutil.copy(path, tmp_path / folder / "g.fits")
    table = tmp_path / "photoz.csv"
    options = ["--catalogue", str(table), "--redshift-column", "z", "--dry-run"]
    for rows, status in (("a/g.fits,0.07\nb/g.fits,0.08", 0), ("g.fits,0.07", 2)):
        table.write_text(f"file,z\n{rows}\n")
        assert run(tmp_path / "*/g.fits", tiny_generator, tmp_path / "out", *options) == status
    assert "photoz.csv: g.fits names cutouts of several folders" in capsys.readouterr().err


def test_redshifts_of_the_cutouts_out_of_range_are_rejected_one_by_one(
    cutouts, tiny_generator, tmp_path
):
    image = fits.getdata(next(cutouts.iterdir()))
    many = tmp_path / "many.npz"
    np.savez(many, images=np.stack([image] * 3), redshift=[0.1, 2.0, np.nan])
    about = ["--bands", "u,g,r,i,z", "--pixel-scale", "0.396", "--unit", "nanomaggy"]
    out = tmp_path / "out"
    assert run(many, tiny_generator, out, *about, "--redshift", "given", "--no-pictures") == 1
    assert spectra(out).keys() == {"many-0", "many-2"}
    assert "many#1: redshift 2 in the cutout: trained for" in (out / "rejected.csv").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--redshift-column", "z"], "with --redshift given"),
        (["--catalogue", "t.csv"], "with --redshift-column"),
        (["--catalogue", "t.csv", "--redshift-column", "z", "--redshift", "0.1"], "leave one out"),
        (
            ["--catalogue", "t.csv", "--redshift-column", "z", "--redshift", "0.1"],
            "leave one out",
        ),
        (["--catalogue", "t.csv", "--redshift-column", "z"], "t.csv: no such file"),
    ],
)
def test_options_about_the_table_that_contradict_each_other(
    options, message, cutouts, tiny_generator, tmp_path, capsys
):
    assert run(cutouts, tiny_generator, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "300"], "--steps 300: the schedule allows 1 to "),
        (["--steps", "0"], "--steps: 0: at least 1"),
        (["--steps", "5", "--sampler", "ancestral"], "--steps 5: ancestral sampling takes all"),
        (["--candidates", "0"], "--candidates: 0: at least 1"),
        (["--batch-size", "0"], "--batch-size: 0: at least 1"),
        (["--keep", "0"], "--keep: 0: at least 1"),
        (["--keep", "4"], "--keep 4 of 3 candidates"),
        (["--mean-of-best", "4"], "best 4 of 3"),
        (["--guidance", "-1"], "--guidance: -1: a finite number of at least 0"),
        (["--guidance", "nan"], "--guidance: nan"),
        (["--pixel-scale", "0"], "--pixel-scale: 0: a finite number above 0"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_written(
    options, message, cutouts, tiny_generator, tmp_path, capsys
):
    try:
        status = run(cutouts, tiny_generator, tmp_path / "out", *options)
    except SystemExit as left:  # argparse
        status = left.code
    assert status == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_run_does_not_go_on_with_another_galaxy_under_the_same_name(
    cutouts, tiny_generator, tmp_path, capsys
):
    path = next(cutouts.iterdir())
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(path, tmp_path / folder / "galaxy.fits")
    more = ["--no-pictures", "--no-measure", "--candidates", "2"]
    out = tmp_path / "out"
    assert run(tmp_path / "b", tiny_generator, out, *more) == 0
    assert run(tmp_path / "?" / "galaxy.fits", tiny_generator, out, *more, "--resume") == 2
    assert "files_of_one_name" in capsys.readouterr().err


def test_a_file_name_that_is_not_utf8_is_a_name_like_others(cutouts, tiny_generator, tmp_path):
    image = fits.getdata(next(cutouts.iterdir()))
    (tmp_path / "in").mkdir()
    try:
        np.save(tmp_path / "in" / os.fsdecode(b"caf\xe9.npy"), image)
    except OSError:
        pytest.skip("a file system of UTF-8 names")
    about = ["--bands", "u,g,r,i,z", "--pixel-scale", "0.396", "--unit", "nanomaggy"]
    assert run(tmp_path / "in", tiny_generator, tmp_path / "out", *about) == 0
    assert Table.read(tmp_path / "out" / "catalogue.fits")["source"].tolist() == ["caf\\xe9.npy"]
    assert [path.name for path in (tmp_path / "out" / "pictures").iterdir()] == ["caf-xe9.png"]
    assert "caf-xe9.fits" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_galaxies_whose_names_make_the_same_file_name_get_two_files(
    cutouts, tiny_generator, tmp_path
):
    """`many.npz` holds many#0 and many#1, and there are a many-1.npy and a MANY-0.npy."""
    images = [fits.getdata(path) for path in sorted(cutouts.iterdir())]
    folder = tmp_path / "in"
    folder.mkdir()
    np.savez(folder / "many.npz", images=np.stack(images[:2]))
    np.save(folder / "many-1.npy", images[2])
    np.save(folder / "MANY-0.npy", images[3])
    about = ["--bands", "u,g,r,i,z", "--pixel-scale", "0.396", "--unit", "nanomaggy"]
    more = ["--no-pictures", "--no-measure"]
    out = tmp_path / "out"
    assert run(folder, tiny_generator, out, *about, *more) == 0
    paths = sorted((out / "spectra").iterdir())
    assert len({path.name.casefold() for path in paths}) == len(paths) == 4
    names = {read_spectrum(path).name: read_spectrum(path).source for path in paths}
    assert names["many-1"] == "many-1.npy" and names["MANY-0"] == "MANY-0.npy"
    assert sorted(names.values()) == ["MANY-0.npy", "many-1.npy", "many.npz", "many.npz"]
    times = {path: path.stat().st_mtime_ns for path in paths}
    assert run(folder, tiny_generator, out, *about, *more, "--resume") == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "spectra").iterdir()} == times


def test_damaged_settings_are_reported_with_the_remedy(cutouts, tiny_generator, tmp_path, capsys):
    folder = tmp_path / "out"
    (folder / "spectra").mkdir(parents=True)
    (folder / "spectra" / "a.fits").touch()  # of an earlier run; without any, it begins again
    for damage in ('{"seed": 1, "ke', "", "[1, 2]", "null"):
        (folder / "generate.json").write_text(damage)
        assert run(cutouts, tiny_generator, folder, "--resume") == 2
        said = capsys.readouterr().err
        assert "generate.json is damaged: delete it" in said


def test_a_kill_while_the_settings_are_written_leaves_the_old_ones(
    cutouts, tiny_generator, tmp_path, monkeypatch
):
    import os

    def killed(*_):
        raise KeyboardInterrupt

    options = ["--no-pictures", "--no-measure"]
    out = tmp_path / "out"
    assert run(cutouts, tiny_generator, out, *options) == 0
    before = (out / "generate.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run(cutouts, tiny_generator, out, *options, "--resume")
    assert (out / "generate.json").read_bytes() == before
    assert not [p for p in out.iterdir() if ".part" in p.name]


def test_failing_pictures_stop_nothing(cutouts, tiny_generator, tmp_path, monkeypatch):
    from utils.core import run_log
    from utils.plotting import plots

    def broken(*arguments, **options):
        raise RuntimeError("no canvas")

    monkeypatch.setattr(plots, "plot_generated", broken)
    monkeypatch.setattr(plots, "contact_sheets", broken)
    failures = []
    monkeypatch.setattr(run_log.LOGGER, "warning", lambda text, what, **_: failures.append(what))
    assert run(cutouts, tiny_generator, tmp_path / "out") == 0
    assert len(spectra(tmp_path / "out")) == 4
    assert len(Table.read(tmp_path / "out" / "catalogue.fits")) == 4
    assert len(failures) == 5 and failures[-1] == "the contact sheets"


def test_output_is_not_overwritten(generated, cutouts, tiny_generator, capsys):
    assert run(cutouts, tiny_generator, generated) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(cutouts, tiny_generator, generated, "--resume", "--seed", "9") == 2
    assert "seed" in capsys.readouterr().err


def test_dry_run_leaves_nothing(cutouts, tiny_generator, tmp_path, capsys):
    assert run(cutouts, tiny_generator, tmp_path / "out", "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert "cutouts     4" in capsys.readouterr().out


def test_other_checkpoints_are_refused_with_the_remedy(cutouts, tiny_towers, tmp_path, capsys):
    assert run(cutouts, tiny_towers, tmp_path / "out") == 2
    assert "a generative one is needed" in capsys.readouterr().err
    foreign = tmp_path / "foreign.pt"
    torch.save({"model": {}}, foreign)
    assert run(cutouts, foreign, tmp_path / "out") == 2
    assert "utils.original convert" in capsys.readouterr().err


def test_a_checkpoint_needs_no_other_file(tiny_generator, tmp_path):
    alone = tmp_path / "moved.pt"
    shutil.copy(tiny_generator, alone)
    stage = load_generator(alone)
    assert stage.contrastive.survey.bands == ("u", "g", "r", "i", "z")
    assert not any(p.requires_grad for p in stage.network.parameters())


def test_files_say_how_they_were_made(generated, tiny_generator):
    header = fits.getheader(next((generated / "spectra").iterdir()))
    assert header["SEED"] == 1 and header["NDRAWN"] == 3
    assert header["SAMPLER"] == "adams, 4 steps" and header["FRAME"] == "observed"
    assert header["CKPT1"].startswith("best.pt ")


def test_guidance_needs_a_network_that_has_done_without_images(
    cutouts, tiny_survey, tiny_towers, tiny_generator, tmp_path, capsys
):
    assert run(cutouts, tiny_generator, tmp_path / "refused", "--guidance", "2") != 0
    assert "--diffusion.image_dropout" in capsys.readouterr().err
    trained = tmp_path / "trained"
    given = [f"--data.survey={tiny_survey}", f"--diffusion.contrastive={tiny_towers}"]
    given += ["--diffusion.image_dropout=0.5", "--optimiser.epochs=2", f"--run.output={trained}"]
    assert train_generative.main([tiny("generative"), *given]) == 0
    drawn = {}
    for weight in ("1", "3"):
        more = ["--no-pictures", "--guidance", weight]
        assert run(cutouts, trained / "best.pt", tmp_path / weight, *more) == 0
        drawn[weight] = spectra(tmp_path / weight)
    for name, spectrum in drawn["1"].items():
        assert not np.allclose(spectrum.mean, drawn["3"][name].mean, atol=1e-4)
        assert redshift_of(spectrum) != redshift_of(drawn["3"][name])


def test_spectra_that_are_not_finite_are_reported(
    cutouts, tiny_generator, tmp_path, monkeypatch, capsys
):
    decode = SpectrumTransform.decode

    def overflowing(self, standardised):
        flux = decode(self, standardised).clone()
        flux[:, 0, :100] = torch.inf  # of the candidate that is sampled first
        return flux

    monkeypatch.setattr(SpectrumTransform, "decode", overflowing)
    assert run(cutouts, tiny_generator, tmp_path / "made") == 0
    assert "4 galaxies have candidates whose flux is not finite" in capsys.readouterr().err
    for spectrum in spectra(tmp_path / "made").values():
        assert spectrum.numbers[-1] == 0 and spectrum.scores[-1] == -1  # ranks last
        assert np.isnan(spectrum.candidates[-1, :100]).all()
        assert np.isfinite(spectrum.candidates[:-1]).all()


def test_the_first_galaxies_get_pictures(cutouts, tiny_generator, tmp_path, capsys):
    assert run(cutouts, tiny_generator, tmp_path, "--no-measure", "--pictures", "2") == 0
    names = sorted(path.stem for path in (tmp_path / "spectra").glob("*.fits"))
    assert sorted(path.stem for path in (tmp_path / "pictures").glob("*.png")) == names[:2]
    assert "pictures of the first 2; index.html shows more" in capsys.readouterr().out


def test_what_is_missing_beside_the_spectra_is_made_again(
    generated, cutouts, tiny_generator, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(generated, out)
    missing = [out / "catalogue.fits", out / "index.html", *(out / "pictures").iterdir()]
    before = {path: path.read_bytes() for path in missing}
    assert len(before) == 6
    for path in before:
        path.unlink()
    assert run(cutouts, tiny_generator, out, "--resume") == 0
    for path, contents in before.items():
        assert path.read_bytes() == contents, path.name


def test_contact_sheets_are_of_the_first_galaxies(cutouts, tiny_generator, tmp_path, monkeypatch):
    monkeypatch.setattr(products, "SHEET_GALAXIES", 2)
    for pages, expected in ((1, 1), (5, 2)):
        monkeypatch.setattr(products, "SHEET_PAGES", pages)
        folder = tmp_path / str(pages)
        assert run(cutouts, tiny_generator, folder, "--no-measure") == 0
        assert len(list(folder.glob("contact_sheet_*.png"))) == expected


def test_a_zero_point_is_that_of_counts(cutouts, tiny_generator, tmp_path):
    counts = 10 ** (0.4 * (25.0 - 22.5))  # of a nanomaggy
    image = fits.getdata(next(cutouts.iterdir()))
    for name, factor, option in (
        ("flux", 1.0, ("--unit", "nanomaggy")),
        ("counts", counts, ("--zero-point", "25,25,25,25,25")),
    ):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "galaxy.npy", image * factor)
        about = ["--bands", "u,g,r,i,z", "--pixel-scale", "0.396", *option]
        out = tmp_path / f"of {name}"
        assert run(tmp_path / name, tiny_generator, out, *about, "--no-pictures") == 0
    flux, of_counts = (spectra(tmp_path / f"of {name}")["galaxy"] for name in ("flux", "counts"))
    assert of_counts.scale == pytest.approx(flux.scale, rel=1e-4)
    assert of_counts.image_colours == pytest.approx(flux.image_colours, abs=1e-4)
