"""The page in a browser, as a user operates it. Needs Chromium (Debian: apt install chromium)."""

import json
import shutil
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from pokecam.cam.display import display, upsample
from pokecam.cam.stored_maps import StoredMaps
from pokecam.judging.localization import box
from pokecam.report import gallery
from pokecam.report.overlay import AGAINST, COLOURS
from pokecam.report.write import write_report
from tests.report.conftest import CLASSES, HARMFUL, SIZE_PX

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs a chromium or google-chrome to drive")

MISTAKE = f"{HARMFUL}/3.png"
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def report(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "a #folder"
    write_report(inputs, folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, report):
    """A function that opens the page; it must cause no error and no request to the network."""
    contexts, errors = [], []

    def open_page(hash_="", viewport=WIDE, **settings):
        context = browser.new_context(viewport=viewport, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: _error(message, errors))
        page.on("pageerror", lambda error: errors.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: _local(request.url, errors))
        page.goto((report / "index.html").as_uri() + hash_)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def _error(message, errors):
    if message.type == "error":
        errors.append(f"console: {message.text}")


def _local(url, errors):
    if not url.startswith(("file:", "data:")):
        errors.append(f"request for {url}")


def listed_files(page):
    return page.locator("#gallery .card").evaluate_all("cards => cards.map(c => c.dataset.file)")


def state(page):
    page.wait_for_timeout(450)  # the address is written at most every 0.4 s
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def painted(page, script):
    """RGB (S, S, 3) of a canvas that the script returns."""
    return np.array(
        page.evaluate(
            "() => { const c = (" + script + ")(); return [...c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data]; }"
        )
    ).reshape(SIZE_PX, SIZE_PX, 4)[..., :3]


def in_colour(heatmap):
    return COLOURS["inferno"][np.round(255 * heatmap).astype(int)].astype(int)


def test_the_gallery_shows_every_image_mistakes_first(opened):
    page = opened()
    files = listed_files(page)
    assert len(files) == 8
    assert files[0] == MISTAKE
    assert page.locator("#count").inner_text() == "8 images"
    assert (
        page.locator("#gallery h3").first.inner_text() == f"{HARMFUL} 1 of 2 correctly classified"
    )


def test_names_from_outside_are_only_text(opened):
    """A script in a class name would open a dialog, which `opened` reports as an error."""
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}")
    page.wait_for_selector("#viewer[open]")
    assert page.locator("img[src=x]").count() == 0
    assert HARMFUL in page.locator("#viewer-title").inner_text()


def test_filters_and_order_are_in_the_address_and_come_back_from_it(opened):
    page = opened()
    page.select_option("#label", HARMFUL)
    page.select_option("#result", "wrong")
    page.select_option("#method", "grad_cam")
    assert listed_files(page) == [MISTAKE]
    assert page.locator("#count").inner_text() == "1 of 8 images"
    expected = {"label": HARMFUL, "result": "wrong", "method": "grad_cam"}
    assert state(page) == expected
    again = opened(page.evaluate("location.hash"))
    assert listed_files(again) == [MISTAKE]
    assert again.input_value("#method") == "grad_cam"
    again.click("#clear")
    assert state(again) == {"method": "grad_cam"}
    assert len(listed_files(again)) == 8


@pytest.mark.parametrize(
    ("hash_", "rows"),
    [
        ("#predicted=Mr.+Mime", [1, 2, 3]),
        ("#sure=high", []),
        ("#sure=middle", [1, 0, 2, 3, 4, 5, 6, 7]),
        ("#pair=Mr.+Mime+|+mr-mime", [2, 3, 4, 5]),
        ("#sort=deletion", [6, 5, 4, 3, 2, 1, 0, 7]),  # the last two have no score
        ("#sort=deletion&reverse=1", [1, 2, 3, 4, 5, 6, 0, 7]),
        ("#sort=sure", [1, 0, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_links_into_the_gallery(opened, inputs, hash_, rows):
    assert listed_files(opened(hash_)) == inputs.predictions.file[rows].to_list()


def test_a_number_of_the_confusion_matrix_leads_to_its_images(opened):
    page = opened()
    page.click(".confusion .mistake a")
    assert listed_files(page) == [MISTAKE]
    assert page.locator("#gallery").is_visible()


def test_maps_are_painted_as_python_paints_them(opened, inputs):
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}")
    methods = enumerate(inputs.maps)
    for (number, method), (index, name) in product(methods, enumerate(CLASSES)):
        page.locator("#classes .class").filter(has_text=name).first.click()
        drawn = painted(page, f"() => document.querySelectorAll('#stage .map')[{number}]")
        expected = in_colour(display(inputs.maps[method].of(1, index), SIZE_PX))
        assert np.abs(drawn - expected).max() <= 4, (method, name)


def test_differences_are_painted_as_python_paints_them(opened, inputs):
    page = opened("#pair=Mr.+Mime+|+mr-mime")
    maps = inputs.maps["cam"].values[2]
    large = upsample(maps[1] - maps[2], SIZE_PX)
    values = large / np.abs(large).max()
    expected = AGAINST[np.round((1 - values) * 127.5).astype(int)]
    first, second = (json.dumps(maps[index].ravel().tolist()) for index in (1, 2))
    script = f"""() => {{
        const canvas = document.createElement("canvas");
        const a = {{values: {first}, shape: [3, 3]}}, b = {{values: {second}, shape: [3, 3]}};
        const large = pokecam.difference(a, b, {SIZE_PX});
        pokecam.paintDifference(canvas, large, {SIZE_PX});
        return canvas;
    }}"""
    drawn = painted(page, script)
    assert np.abs(drawn - expected.astype(int)).max() <= 4


def test_a_pair_is_shown_with_both_maps_and_their_difference(opened):
    page = opened("#pair=Mr.+Mime+|+mr-mime")
    card = page.locator("#gallery .card").first
    card.locator("canvas").nth(2).wait_for()
    heads = card.locator(".heading").all_inner_texts()
    assert heads == ["Mr. Mime", "Mr. Mime", "mr-mime", "Mr. Mime − mr-mime"]
    page.wait_for_function("document.querySelectorAll('.card canvas')[2].width > 1")


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
def test_boxes_are_those_of_python(opened, inputs, level):
    page = opened()
    for row, index in product(range(8), range(4)):
        heatmap = display(inputs.maps["cam"].of(row, index), SIZE_PX)
        if not heatmap.any():
            continue
        call = f"([v, l]) => pokecam.box(Float32Array.from(v), {SIZE_PX}, l)"
        corners = page.evaluate(call, [heatmap.ravel().tolist(), level])
        edges = [corners[name] for name in ("left", "top", "right", "bottom")]
        assert edges == box(heatmap, level).tolist()


def test_the_viewer_goes_through_images_and_classes_by_keys(opened):
    page = opened()
    page.locator("#gallery .card").first.click()
    page.wait_for_selector("#viewer[open]")
    assert state(page)["view"] == MISTAKE
    assert page.locator("#viewer-verdict").inner_text() == "✗ misclassified as Mr. Mime, 70.0 %"
    assert page.locator("#previous").is_disabled()
    assert page.locator(".class[aria-current] .name").inner_text() == "Mr. Mime"
    page.keyboard.press("ArrowDown")
    assert state(page)["as"] == HARMFUL
    page.keyboard.press("ArrowUp")
    assert "as" not in state(page)
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.getElementById('place').textContent === '2 of 8'")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer:not([open])", state="attached")
    assert "view" not in state(page)
    assert page.evaluate("document.activeElement.dataset.file") == f"{HARMFUL}/2.png"


def test_leaving_the_viewer_with_the_mouse_on_a_class_is_no_error(opened):
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}")
    page.wait_for_selector("#viewer[open]")
    page.locator("#classes .class").nth(2).hover()
    page.keyboard.press("Escape")
    page.mouse.move(5, 5)
    assert "view" not in state(page)


@pytest.mark.parametrize(
    "hash_",
    [
        "#level=500&view=mr-mime%2F10.png",
        "#opacity=abc&colours=constructor&view=mr-mime%2F10.png",
        "#sure=toString&sort=nothing&pair=x&method=y&label=z",
        "#view=nowhere&as=nobody&truth=0&reverse=0",
        "#%&=&==",
    ],
)
def test_invalid_values_in_an_address_are_ignored(opened, hash_):
    page = opened(hash_)
    if "mr-mime" in hash_:
        page.wait_for_selector("#viewer[open]")
        assert page.locator("#level-value").inner_text() == "off"
    assert page.locator("#count").inner_text() == "8 images"
    assert len(listed_files(page)) == 8


def test_a_link_to_a_section_keeps_the_filters(opened):
    page = opened("#result=wrong")
    page.click("nav a[href='#training']")
    assert listed_files(page) == [MISTAKE]


def test_pointing_at_a_class_shows_its_map_and_leaving_takes_it_back(opened):
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}")
    page.wait_for_selector("#viewer[open]")
    caption = page.locator("#stage figcaption").nth(1)
    page.locator("#classes .class").filter(has_text="$x$ ünï").hover()
    assert caption.inner_text() == "CAM: $x$ ünï"
    page.locator("#viewer-title").hover()
    assert caption.inner_text() == "CAM: Mr. Mime"


def test_settings_of_the_viewer_are_in_the_address(opened):
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}")
    page.wait_for_selector("#viewer[open]")
    page.locator("#opacity").fill("30")
    page.locator("#level").fill("50")
    page.select_option("#colours", "cividis")
    expected = {"view": MISTAKE, "opacity": "30", "level": "50", "colours": "cividis"}
    assert state(page) == expected
    again = opened(page.evaluate("location.hash"))
    again.wait_for_selector("#viewer[open]")
    assert again.locator("#stage .map").first.evaluate("c => c.style.opacity") == "0.3"
    assert again.locator("#level-value").inner_text() == "50 % of the maximum"


def test_an_empty_map_is_dark_and_says_so(opened):
    page = opened(f"#view={HARMFUL.replace('=', '%3D')}/2.png")
    page.wait_for_selector("#viewer[open]")
    assert page.locator("#stage figcaption").nth(1).inner_text() == f"CAM: {HARMFUL} (empty map)"
    dark = painted(page, "() => document.querySelectorAll('#stage .map')[0]")
    assert (dark == COLOURS["inferno"][0]).all()


def test_tables_and_ground_truth_of_an_image(opened):
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}")
    page.wait_for_selector("#viewer[open]")
    tables = page.locator("#tables").inner_text()
    assert "Deletion ↓\t0.10\t0.11" in tables
    assert "eye\t2.00\t50 %\t–" in tables
    lines = painted(page, "() => document.querySelectorAll('#stage .lines')[0]")
    assert lines.any()  # the outline of the object
    page.uncheck("#truth")
    assert not painted(page, "() => document.querySelectorAll('#stage .lines')[0]").any()


def test_a_finger_goes_to_the_next_image(opened):
    page = opened(f"#view={MISTAKE.replace('=', '%3D')}", viewport=PHONE, has_touch=True)
    page.wait_for_selector("#viewer[open]")
    page.evaluate(
        """() => { const stage = document.getElementById('stage');
        const at = x => new Touch({identifier: 1, target: stage, clientX: x, clientY: 300});
        stage.dispatchEvent(new TouchEvent('touchstart', {touches: [at(300)]}));
        stage.dispatchEvent(new TouchEvent('touchend', {changedTouches: [at(120)]})); }"""
    )
    page.wait_for_function("document.getElementById('place').textContent === '2 of 8'")


@pytest.mark.parametrize("hash_", ["", "#pair=Mr.+Mime+|+mr-mime", "#view=mr-mime%2F10.png"])
def test_nothing_is_wider_than_a_phone(opened, hash_):
    page = opened(hash_, viewport=PHONE)
    if "view" in hash_:
        page.wait_for_selector("#viewer[open]")
        inside = page.locator("#viewer").evaluate("v => v.scrollWidth - v.clientWidth")
        assert inside <= 0
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("hash_", ["", f"#view={MISTAKE.replace('=', '%3D')}&level=40"])
def test_axe_finds_nothing_serious(opened, scheme, hash_):
    page = opened(hash_, color_scheme=scheme)
    if hash_:
        page.wait_for_selector("#viewer[open]")
    violations = Axe().run(page).response["violations"]
    serious = [
        (violation["id"], [node["html"][:200] for node in violation["nodes"][:3]])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.fixture(scope="module")
def mixed(inputs, tmp_path_factory):
    """A report with one image in a line of a bundle, and maps of three kinds: one for each class,
    one shared by all classes, and one that is larger than stored maps."""
    rng = np.random.default_rng(1)
    n = len(inputs.predictions)
    shared = rng.normal(size=(n, 1, 7, 5)).astype(np.float32)
    large = rng.normal(size=(n, len(CLASSES), 59, 61)).astype(np.float32)
    maps = {
        "cam": inputs.maps["cam"],
        "edges": StoredMaps(shared),
        "guided": StoredMaps(large),
    }
    titles = {"cam": "CAM", "edges": "Edges", "guided": "Guided"}
    run = replace(inputs, maps=maps, titles=titles)
    folder = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "COLUMNS", 1)
        write_report(run, folder)
    return run, folder


def test_methods_of_several_sizes_and_classes_without_a_map(browser, mixed):
    run, folder = mixed
    context, errors = browser.new_context(viewport=WIDE), []

    def open_page(hash_):
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((folder / "index.html").as_uri() + hash_)
        return page

    view = f"#view={MISTAKE.replace('=', '%3D')}"
    page = open_page(view)
    page.wait_for_selector("#viewer[open]")
    for number, (method, maps) in enumerate(run.maps.items()):
        expected = in_colour(display(gallery.downsample(maps.of(1, 1)), SIZE_PX))
        drawn = painted(page, f"() => document.querySelectorAll('#stage .map')[{number}]")
        assert np.abs(drawn - expected).max() <= 4, method
    # Maps of 56 × 56 are stored of two classes: the predicted one and the label.
    assert page.locator("#classes .class:disabled").count() == len(CLASSES) - 2
    # The second image lies below the first.
    tiles = page.locator("#stage .tile").first
    position = tiles.evaluate("t => [t.style.backgroundPosition, t.style.backgroundSize]")
    assert position == ["0% 100%", "100% 200%"]
    page = open_page(view + "&as=mr-mime")
    page.wait_for_selector("#viewer[open]")
    assert page.locator("#stage figcaption").nth(1).inner_text() == "CAM: mr-mime (no map stored)"
    page = open_page("#method=edges&pair=Mr.+Mime+|+mr-mime")
    page.wait_for_selector("#gallery .same")
    assert errors == []
    context.close()


def test_without_scripts_there_is_the_contact_sheet(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("img.sheet").is_visible()
    assert not page.locator(".filters").is_visible()


def test_a_page_without_its_folder_says_what_is_missing(browser, report, tmp_path):
    shutil.copy(report / "index.html", tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri() + "#result=wrong")
    message = "document.getElementById('count').textContent.includes('images/')"
    page.wait_for_function(message)
    page.close()
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri() + "#view=mr-mime%2F10.png")
    page.wait_for_function(message)
    assert not page.locator("#viewer").is_visible()
    page.close()
