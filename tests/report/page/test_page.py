"""The report page: complete, self-contained, and harmless whatever the names in a run say."""

import copy
import re
import subprocess
import sys

import numpy as np
import pytest

from medjax.errors import RefusedError
from medjax.report.page.page import render_page, write_page
from tests.pages import FIGURES, HOSTILE, METRICS, RUN, Page, png, rename, rendered, spaced, write_run


@pytest.fixture
def run() -> dict:
    return copy.deepcopy(RUN)


@pytest.fixture
def metrics() -> dict:
    return copy.deepcopy(METRICS)


def test_page_is_one_document_with_a_contents_list_that_leads_somewhere(tmp_path, run, metrics) -> None:
    html = render_page(write_run(tmp_path, run, metrics))
    page = Page(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert [tag for tag, _ in page.tags].count("h1") == 1
    targets = {f"#{id}" for id in page.values("section", "id")}
    assert len(targets) == 18
    assert set(page.values("a", "href")) == targets
    assert "phantom, report: medjax report" in page.text
    assert "preset “report”, 22 November 2026, 09:30 UTC" in page.text


def test_what_went_wrong_comes_first(tmp_path, run, metrics) -> None:
    assert "To change it" not in rendered(tmp_path, run, metrics).text
    metrics["diagnosis"] = [
        {"name": "not learnt", "sentence": "It has <b>not</b> learnt.", "remedy": "train anew"}
    ]
    text = rendered(tmp_path, run, metrics).text
    notice = "It has <b>not</b> learnt. To change it: train anew."
    assert 0 < text.index(notice) < text.index("Synthetic phantom images")


def test_nothing_is_fetched_and_nothing_runs(tmp_path, run, metrics) -> None:
    html = render_page(write_run(tmp_path, run, metrics))
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|<script|@import|url\(|<iframe|<object", html, re.IGNORECASE)
    assert len(page.values("img", "src")) == len(FIGURES)
    assert all(uri.startswith("data:image/png;base64,") for uri in page.values("img", "src"))
    assert page.values("link", "href") == ["data:,"]
    assert "default-src 'none'" in html


def test_figures_have_an_alternative_text_and_a_size(tmp_path, run, metrics) -> None:
    page = rendered(tmp_path, run, metrics)
    assert all(len(alt) > 20 for alt in page.values("img", "alt"))
    assert page.values("img", "width") == ["384"] * 5  # 640 pixels at 160 an inch, 96 CSS pixels an inch
    assert page.values("img", "height") == ["192"] * 5


def test_summary_can_be_read_aloud(tmp_path, run, metrics) -> None:
    text = rendered(tmp_path, run, metrics).text
    assert (
        "On 540 test images that it was not trained on, the model made 2 errors: an accuracy of 99.63 % over 3 classes, "
        "with a 95 % Wilson interval of 98.66 to 99.90 %. "
        "The model was not compared with baselines, so nothing here shows that it is needed. "
        "It is not known whether images of one patient lie in several parts, so the score may be too optimistic for "
        "new patients. "
        "The model is the network “cnn” with 225,034 parameters, trained for 2 epochs on 2,520 images of "
        "“phantom” (28 × 28 pixels, gray). Its mean cross-entropy loss on the test images is 0.0123 nats; 0 is perfect, and "
        "a uniform guess scores 1.10."
    ) in text


def test_every_number_of_the_metrics_is_shown(tmp_path, run, metrics) -> None:
    text = rendered(tmp_path, run, metrics).text
    assert "Test 540 2 99.63 % (98.66 to 99.90) 0.0123" in spaced(tmp_path)
    assert "Validation 540 1 99.81 % (98.96 to 99.97) 0.250" in spaced(tmp_path)
    assert "Training 2,520 0 100.00 % (99.85 to 100.00) 3.20 × 10⁻⁶" in spaced(tmp_path)
    assert "AbdomenCT 180 0.9944 1.0000 1.0000 0.9972 > 0.9999" in spaced(tmp_path)
    assert "CXR 181 1.0000 0.9944 0.9890 0.9945 0.9987" in spaced(tmp_path)
    assert "AbdomenCT 179 1 0 CXR 0 180 0 Hand 0 1 179" in spaced(tmp_path)
    for seconds in ("2.31 s", "3.02 s", "4 min 05 s", "0.61 s", "2 h 03 min"):
        assert seconds in text


def test_undefined_is_said_and_never_zero(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    assert "Hand 179 0.0000 < 0.0001 undefined undefined undefined" in spaced(tmp_path)
    metrics["val"].update(accuracy=None, accuracy_ci95=None, loss=None)
    write_run(tmp_path, run, metrics)
    assert "Validation 540 1 undefined undefined Training" in spaced(tmp_path)


def test_history_is_shown_with_what_is_not_finite(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "1 0.900 0.7000 0.0555 0.9800 0.001 1.00 s 2 0.100 0.9000 undefined 0.9900 0.001 2.00 s" in text
    assert "Validation loss was lowest after epoch 1: 0.0555." in text
    assert "the parameters after the last epoch" in text


def test_the_epoch_that_is_scored_and_an_early_stop_are_said(tmp_path, run, metrics) -> None:
    run["config"].update(epochs=5, keep="best")
    run["config"]["early_stopping"] = True
    metrics["training"] = {"epochs": 2, "best_epoch": 0}
    text = rendered(tmp_path, run, metrics).text
    assert "Training stopped early, after 2 of at most 5 epochs." in text
    assert "Scored here: the parameters after epoch 1." in text
    assert (
        "decided which epoch's parameters are scored and when training stopped, and the model was trained on"
        in text
    )
    metrics["training"]["best_epoch"] = None
    assert "the parameters after the last epoch" in rendered(tmp_path, run, metrics).text


def test_groups_that_were_kept_together_are_counted(tmp_path, run, metrics) -> None:
    run["data"]["groups"] = {"path": "/home/someone/secret/groups.csv", "n": 300, "sources": ["user"]}
    html = render_page(write_run(tmp_path, run, metrics))
    assert "Whole groups were kept together: 300 groups." in Page(html).text
    assert "secret" not in html
    run["data"]["groups"] = None
    assert "The split is at image level." in rendered(tmp_path, run, metrics).text


def test_run_is_described(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    for words in (
        run["data"]["fingerprint"],
        "AbdomenCT 840 180 181 1,201",
        "All classes 2,520 540 543 3,600",
        "3,600 images resized from 64 by 64 to 28 by 28 pixels, the model's size",
        "1 image rotated or mirrored as the EXIF tag says",
        "2 files skipped",
        "convolution 3×3, 32 26 × 26 × 32 320",
        "head/hidden Dense 128 204,928",
        "learning rate 0.001",
        "fractions 0.7, 0.15, 0.15 (train, val, test)",
        "ignore none",
        "cache yes",
        "rotation 10 degrees either way",
        "medjax train phantom",
        "python 3.11.7",
        "processor AMD EPYC",
        "never interrupted; seed 7",
        "not a medical device",
    ):
        assert words in text
    assert "recolored" not in text
    assert "converted" not in text


def test_a_network_of_the_users_own_is_named_and_its_layers_may_lack_kind_and_shape(
    tmp_path, run, metrics
) -> None:
    layers = [
        {"layer": "trunk", "kind": "", "output_shape": [], "parameters": 7},
        {"layer": "head", "output_shape": None, "parameters": 3},
    ]
    run["model"] = {"name": "my_models:MyResNet", "kind": "NNX module", "parameters": 10, "layers": layers}
    write_run(tmp_path, run, metrics)
    text = spaced(tmp_path)
    assert "trunk – 7 head – 3 Network “my_models:MyResNet” NNX module 10" in text
    assert "the network “my_models:MyResNet” with 10 parameters" in text
    assert "onvolution" not in text
    run["model"]["layers"] = []
    assert "Network “my_models:MyResNet”" in rendered(tmp_path, run, metrics).text


def test_the_weights_that_a_network_starts_from_are_named_with_their_terms(tmp_path, run, metrics) -> None:
    heading = "Weights that it starts from"
    assert heading not in rendered(tmp_path, run, metrics).text
    run["model"]["pretrained"] = {
        "source": "/home/secret/<b>.pth",
        "sha256": None,
        "terms": "torchvision, BSD-3-Clause; trained on ImageNet",
        "notes": ["head/logits starts fresh", "conv1 is the sum over 3 channels"],
    }
    page = rendered(tmp_path, run, metrics)
    found = " ".join(page.text[page.text.index(heading) :].split())
    assert found.startswith(
        f"{heading} “<b>.pth”: torchvision, BSD-3-Clause; trained on ImageNet head/logits starts fresh "
        "conv1 is the sum over 3 channels"
    )
    assert "secret" not in page.text
    del run["model"]["pretrained"]["terms"]  # of a run
    run["model"]["pretrained"]["notes"] = []
    assert "“<b>.pth”" in rendered(tmp_path, run, metrics).text


def test_the_page_says_which_images_are_augmented_and_sampled(tmp_path, run, metrics) -> None:
    text = rendered(tmp_path, run, metrics).text
    assert "The scored images are not augmented." in text
    assert "on augmented images and in training mode" in text
    assert "loss-proportional sampling)" not in text
    run["config"] |= {"test_time_augmentation": 16, "loss_proportional_sampling": 4}
    text = rendered(tmp_path, run, metrics).text
    assert "averaged over 16 fixed augmentations of an image (test-time augmentation)" in text
    assert "hard images are drawn more often (loss-proportional sampling)" in text


def test_path_of_the_data_is_not_shown(tmp_path, run, metrics) -> None:
    html = render_page(write_run(tmp_path, run, metrics))
    assert "secret" not in html
    assert str(tmp_path) not in html


def test_names_of_strangers_stay_text(tmp_path, run, metrics) -> None:
    rename(run, metrics, HOSTILE)
    run["data"]["name"] = run["command"] = run["model"]["layers"][0]["layer"] = HOSTILE[1]
    run["machine"]["processor"] = run["versions"]["jax"] = HOSTILE[0]
    page = rendered(tmp_path, run, metrics)
    names = {name for name, _ in page.tags}
    assert "script" not in names
    assert page.values("img", "src") == [src for src in page.values("img", "src") if src.startswith("data:")]
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    assert all(name in page.text for name in HOSTILE)


def test_invisible_characters_become_visible(tmp_path, run, metrics) -> None:
    rename(run, metrics, ["right\u202eleft", "bell\x07", "null\x00\x1b[31m"])
    html = render_page(write_run(tmp_path, run, metrics))
    html.encode("utf-8")
    assert "right\\u202eleft" in html
    assert "bell\\x07" in html
    assert "null\\x00\\x1b[31m" in html


@pytest.mark.parametrize("names", [["items", "values", "get"], ["n", "0", ""]])
def test_class_names_may_be_words_of_the_template(tmp_path, run, metrics, names) -> None:
    rename(run, metrics, names)
    write_run(tmp_path, run, metrics)
    assert f"{names[1]} 181 1.0000 0.9944 0.9890 0.9945 0.9987" in spaced(tmp_path)


def test_synthetic_data_carry_a_banner_and_other_data_do_not(tmp_path, run, metrics) -> None:
    banner = "Synthetic phantom images, no patient data."
    assert banner in rendered(tmp_path, run, metrics).text
    run["data"]["is_synthetic"] = False
    text = rendered(tmp_path, run, metrics).text
    assert "ynthetic" not in text


def test_where_images_and_names_are_shown_it_says_to_de_identify_them(tmp_path, run, metrics) -> None:
    figures = (*FIGURES, "unsure")
    assert "e-identify" not in rendered(tmp_path, run, metrics, figures).text
    run["data"]["is_synthetic"] = False
    text = rendered(tmp_path, run, metrics, figures).text
    assert "De-identify before sharing. This page shows images and file names as they are." in text
    assert text.count("De-identify before sharing.") == 1 + len(["samples", "augmented", "errors", "unsure"])


def test_one_of_a_kind_is_named_in_the_singular(tmp_path, run, metrics) -> None:
    run["config"] |= {"epochs": 1, "batch_size": 1, "test_time_augmentation": 1}
    run["data"]["groups"] = {"n": 1, "sources": ["user"]}
    run["data"] |= {"n": 1, "loading": dict.fromkeys(run["data"]["loading"], 1)}
    one = {"n": 1, "exact": 1, "near": 1}
    run["data"]["leakage"] = {**run["data"]["leakage"], "test": {**one, "by_class": {"CXR": one}}}
    run["data"]["leakage"]["groups_across_parts"] = {"n": 1, "named": {}}
    run["resumptions"] = ["2026-11-22T11:00:00+00:00"]
    run["model"]["parameters"] = 1
    bootstrap = {"resamples": 1, "seed": 0, "unit": "image", "units": 1, "withheld": None}
    for part in ("test", "val", "train"):
        metrics[part] |= {"n": 1, "errors": 1, "bootstrap": bootstrap}
        metrics[part]["ece_binning"] = {"bins": 1, "kind": "equal width on the top probability"}
    write_run(tmp_path, run, metrics)
    for errors in (1, 0):
        metrics["test"]["errors"] = errors
        text = rendered(tmp_path, run, metrics).text
        found = re.findall(r"\b1 (?:[a-z-]+ ){0,2}[a-z]+s\b", text)
        assert [
            words for words in found if not re.fullmatch(r".* (?:is|was|as|lies|class|pass)", words)
        ] == []


def test_unfinished_and_resumed_runs_say_so(tmp_path, run, metrics) -> None:
    assert "not finished" not in rendered(tmp_path, run, metrics).text
    run.update(status="interrupted", resumptions=["2026-11-22T11:00:00+00:00"] * 2)
    text = rendered(tmp_path, run, metrics).text
    assert "This run is not finished (its status is “interrupted”)" in text
    assert "resumed 2 times" in text


def test_figures_may_be_missing(tmp_path, run, metrics) -> None:
    run["config"]["augment"] = False
    page = rendered(tmp_path, run, metrics, figures=("curves", "confusion_matrix", "samples", "errors"))
    assert "Augmentation was off" in page.text
    assert "rotation" not in page.text
    assert len(page.values("img", "src")) == 4
    run["config"]["augment"] = True
    (tmp_path / "figures" / "curves.png").unlink()
    page = rendered(tmp_path, run, metrics, figures=())
    assert "The figure curves.png is not in this run directory." in page.text


def test_a_run_without_errors_says_so(tmp_path, run, metrics) -> None:
    metrics["test"].update(errors=0, accuracy=1.0, accuracy_ci95=[0.9929, 1.0])
    page = rendered(tmp_path, run, metrics)
    assert "the model made no error: an accuracy of 100.00 % over 3 classes" in page.text
    assert "None of the 540 test images was misclassified." in page.text
    assert len(page.values("img", "src")) == 4


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "history.csv"])
def test_missing_and_broken_files_are_refused_by_name(tmp_path, run, metrics, name) -> None:
    write_run(tmp_path, run, metrics)
    (tmp_path / name).write_text("epoch,val_loss\n0,{")
    with pytest.raises(RefusedError, match=f"{name}: cannot be read"):
        render_page(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RefusedError, match=f"{name}: not found"):
        render_page(tmp_path)


def test_a_figure_that_is_no_png_and_an_empty_history_are_refused(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    figure = tmp_path / "figures" / "curves.png"
    for content in (b"<svg onload='alert(1)'/>", png("JPEG"), png()[:20], b""):
        figure.write_bytes(content)
        with pytest.raises(RefusedError, match=r"curves\.png: is not a PNG"):
            render_page(tmp_path)
    (tmp_path / "history.csv").write_text("fold,epoch,val_loss\n")
    with pytest.raises(RefusedError, match="has no epoch"):
        render_page(tmp_path)


def test_page_is_written_whole_or_not_at_all(tmp_path, run, metrics) -> None:
    write_run(tmp_path, run, metrics)
    path = write_page(tmp_path)
    first = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    assert first == render_page(tmp_path)
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(RefusedError):
        write_page(tmp_path)
    assert path.read_text(encoding="utf-8") == first
    assert [p.name for p in tmp_path.glob("*report*")] == ["report.html"]


def test_page_with_real_figures_is_small(tmp_path, run, metrics) -> None:
    from medjax.report.figures import plots
    from medjax.report.figures.render import save_figure

    write_run(tmp_path, run, metrics)
    noise = np.random.default_rng(0).integers(0, 256, (24, 28, 28, 3), dtype=np.uint8)
    names = ["CXR"] * 24
    half = np.full(24, 0.5)
    copies = np.repeat(noise[:14, None] / np.float32(255), 6, axis=1)
    figures = {
        "samples": plots.plot_samples(noise[:14], names[:14], "samples", is_synthetic=True),
        "augmented": plots.plot_augmented(noise[:14], copies, names[:14], is_synthetic=True),
        "errors": plots.plot_errors(noise, names, names, names, half, half, is_synthetic=True),
    }
    for name, figure in figures.items():
        save_figure(figure, tmp_path / "figures" / f"{name}.png")
    assert len(render_page(tmp_path).encode()) < 5 * 2**20


def test_importing_the_page_is_light() -> None:
    code = "import sys, medjax.report.page.page; sys.exit(bool({'matplotlib', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
