"use strict";
// The gallery of test images, and the viewer of one image. Heatmaps are computed from the stored raw
// maps as in pokecam/cam/display.py and pokecam/report/overlay.py; the tests compare the pixels.
// A page on disk may not fetch files in Chrome, so data are scripts that call `pokecam.put`.

window.pokecam = (() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const { classes, methods, measures, images, pairs } = page;
  const COLOURS = Object.fromEntries(
    Object.entries(page.colours).map(([name, text]) => [name, bytes(text)]));
  const AGAINST = bytes(page.against);

  const $ = (id) => document.getElementById(id);
  const FILTERS = ["label", "predicted", "result", "sure", "pair"];
  const GALLERY_CHOICES = [...FILTERS, "method", "sort"]; // with `reverse`, they decide what the gallery shows
  const CHOICES = [...GALLERY_CHOICES, "colours"];

  // ---- maps ---------------------------------------------------------------------------------

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  }

  // Linear interpolation with align_corners=False: for every output pixel the indices of its two
  // neighbours, and its distance from the first as a fraction of their distance.
  function neighbours(small, large) {
    return Array.from({ length: large }, (_, i) => {
      const centre = Math.min(Math.max(((i + 0.5) * small) / large - 0.5, 0), small - 1);
      const below = Math.floor(centre);
      return [below, Math.min(below + 1, small - 1), centre - below];
    });
  }

  function upsample(values, size, [height, width]) {
    const columns = neighbours(width, size);
    const rows = Array.from({ length: height }, (_, y) =>
      columns.map(([a, b, f]) => values[y * width + a] * (1 - f) + values[y * width + b] * f));
    const large = new Float32Array(size * size);
    neighbours(height, size).forEach(([a, b, f], y) => {
      for (let x = 0; x < size; x++) large[y * size + x] = rows[a][x] * (1 - f) + rows[b][x] * f;
    });
    return large;
  }

  // The heatmap of a raw map {values, shape}: ReLU, upsampling, division by the maximum. That of an
  // empty map is zero.
  function heatmap({ values, shape }, size) {
    const positive = Array.from(values, (v) => Math.max(v, 0));
    if (positive.every((v) => v === positive[0])) return new Float32Array(size * size);
    const large = upsample(positive, size, shape);
    const highest = large.reduce((a, b) => Math.max(a, b), 0);
    return large.map((v) => v / highest);
  }

  // The evidence for one class and against another, in [-1, 1].
  function difference(a, b, size) {
    const large = upsample(Array.from(a.values, (v, i) => v - b.values[i]), size, a.shape);
    const highest = large.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    return highest ? large.map((v) => v / highest) : large;
  }

  // The tight box around the largest 8-connected component of the pixels that reach `level`.
  function box(large, size, level) {
    const visited = new Uint8Array(size * size);
    let largest = null;
    for (let start = 0; start < visited.length; start++) {
      if (visited[start] || large[start] < level) continue;
      const component = { n: 0, left: size, top: size, right: 0, bottom: 0 };
      const pixels = [start];
      visited[start] = 1;
      while (pixels.length) {
        const pixel = pixels.pop();
        const x = pixel % size, y = (pixel - x) / size;
        component.n++;
        component.left = Math.min(component.left, x);
        component.top = Math.min(component.top, y);
        component.right = Math.max(component.right, x + 1);
        component.bottom = Math.max(component.bottom, y + 1);
        for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, size - 1); v++) {
          for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, size - 1); u++) {
            const next = v * size + u;
            if (!visited[next] && large[next] >= level) { visited[next] = 1; pixels.push(next); }
          }
        }
      }
      if (!largest || component.n > largest.n) largest = component;
    }
    return largest;
  }

  function paintIndices(canvas, indices, colours, size) {
    canvas.width = canvas.height = size;
    const image = new ImageData(size, size);
    for (let i = 0; i < indices.length; i++) {
      image.data.set(colours.subarray(3 * indices[i], 3 * indices[i] + 3), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function paint(canvas, large, size, colours = "inferno") {
    paintIndices(canvas, large.map((v) => Math.round(v * 255)), COLOURS[colours], size);
  }

  function paintDifference(canvas, large, size) {
    paintIndices(canvas, large.map((v) => Math.round((1 - v) * 127.5)), AGAINST, size);
  }

  // Draw a dark line with a light one inside it, visible on any image, where `inside` ends.
  function drawOutline(context, inside, size, colour) {
    for (const [width, style] of [[3, "rgb(0 0 0 / .75)"], [1, colour]]) {
      context.fillStyle = style;
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const isInside = inside(y * size + x);
          if ((x + 1 < size && isInside !== inside(y * size + x + 1)) ||
              (y + 1 < size && isInside !== inside((y + 1) * size + x))) {
            context.fillRect(x - (width - 1) / 2, y - (width - 1) / 2, width, width);
          }
        }
      }
    }
  }

  function drawBox(context, { left, top, right, bottom }, colour, dash) {
    context.setLineDash(dash);
    for (const [width, style] of [[4, "rgb(0 0 0 / .75)"], [2, colour]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.strokeRect(left + 1, top + 1, Math.max(right - left - 2, 1), Math.max(bottom - top - 2, 1));
    }
  }

  // ---- data of bundles, loaded when they are needed --------------------------------------------

  const loaded = new Map(), requests = new Map(); // bundle → its data; bundle → a promise of them

  function put(name, data) {
    const maps = {};
    for (const [method, { scale, values }] of Object.entries(data.maps)) {
      maps[method] = { scale, values: new Int16Array(bytes(values).buffer) };
    }
    loaded.set(name, { ...data, maps, masks: data.masks && bytes(data.masks) });
  }

  function load(name) {
    if (!requests.has(name)) {
      requests.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `images/${name}.js`;
        script.onload = () => resolve(loaded.get(name));
        script.onerror = () => {
          requests.delete(name); // so that it can be requested again
          reject(new Error(`images/${name}.js is missing`));
        };
        document.head.append(script);
      }));
    }
    return requests.get(name);
  }

  // The stored map of one class, or null if there is none.
  function storedMap(data, at, method, index) {
    const column = page.one_for_all.includes(method) ? 0 : data.classes[at].indexOf(index);
    if (column < 0) return null;
    const { scale, values } = data.maps[method];
    const shape = methods.find(({ key }) => key === method).size;
    const n = shape[0] * shape[1], first = (at * data.classes[at].length + column) * n;
    return { values: Float64Array.from(values.subarray(first, first + n), (v) => v * scale[at][column]), shape };
  }

  // A function that tells whether a pixel is on the object, from the stored small mask; null without
  // an object.
  function objectMask(data, at, size) {
    const side = page.mask_px;
    const bits = Array.from({ length: side * side }, (_, i) => {
      const bit = at * side * side + i;
      return (data.masks[bit >> 3] >> (7 - (bit & 7))) & 1;
    });
    if (!bits.includes(1)) return null;
    const large = upsample(bits, size, [side, side]);
    return (i) => large[i] >= 0.5;
  }

  // ---- state, all of which is in the address ---------------------------------------------------

  const DEFAULTS = {
    label: "", predicted: "", result: "", sure: "", pair: "", method: methods[0].key, sort: "class",
    reverse: "", view: "", as: "", opacity: "65", level: "0", truth: "1", colours: "inferno",
  };
  let state = { ...DEFAULTS };

  // Whether a value of the address is valid: it may be typed by hand, or from another report.
  function isValid(key, value) {
    if (CHOICES.includes(key)) return $(key) && [...$(key).options].some((option) => option.value === value);
    if (key === "opacity" || key === "level") return value >= 0 && value <= Number($(key).max);
    if (key === "view") return images.some(({ file }) => file === value);
    if (key === "as") return classes.includes(value);
    return value === "" || value === "1";
  }

  function readAddress() {
    state = { ...DEFAULTS };
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      if (Object.hasOwn(DEFAULTS, key) && isValid(key, value)) state[key] = value;
    }
  }

  function address() {
    const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
    return "#" + (changed.length ? changed.map((pair) => pair.map(encodeURIComponent).join("=")).join("&") : "images");
  }

  let timer = 0, lastWrite = 0; // the timer of the next write of the address; ms of the last one

  // The address is written at most every 0.4 s: browsers refuse more, as while a key is held down.
  function update(change) {
    Object.assign(state, change);
    draw();
    clearTimeout(timer);
    timer = setTimeout(() => {
      lastWrite = performance.now();
      history.replaceState(null, "", address());
    }, Math.max(0, lastWrite + 400 - performance.now()));
  }

  // ---- gallery ----------------------------------------------------------------------------------

  // A name written from right to left would reverse the order of the numbers beside it. U+2068 and
  // U+2069 isolate it. Other names stay unchanged, so that they can be searched for and copied.
  const RIGHT_TO_LEFT = /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
  const isolated = (name) => RIGHT_TO_LEFT.test(name) ? `\u2068${name}\u2069` : name;
  const classTexts = classes.map(isolated);
  const fileText = (file) => file.split("/").map(isolated).join("/");

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in node && name !== "style") node[name] = value; else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  // The image, cut out of the JPEG of its bundle.
  function tile(image) {
    const { columns, rows } = page.bundles[image.bundle];
    const x = image.at % columns, y = Math.floor(image.at / columns);
    const span = element("span", { className: "tile" });
    span.style.backgroundImage = `url("images/${image.bundle}.jpg")`;
    span.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    span.style.backgroundPosition =
      `${columns > 1 ? (100 * x) / (columns - 1) : 0}% ${rows > 1 ? (100 * y) / (rows - 1) : 0}%`;
    return span;
  }

  function panel(heading, ...layers) {
    const headings = heading ? [element("span", { className: "heading" }, heading)] : [];
    return element("span", { className: "panel" }, ...layers, ...headings);
  }

  const isCorrect = (image) => image.label === image.predicted;

  function verdict(image) {
    return `${isCorrect(image) ? "✓" : "✗ misclassified as"} ${classTexts[image.predicted]}`;
  }

  function makeCard(image) {
    const card = element("button", { type: "button", className: isCorrect(image) ? "card" : "card wrong" });
    card.dataset.file = image.file;
    card.setAttribute("aria-label", `${verdict(image)}, ${percent(image.probability)}, ${image.file}`);
    card.addEventListener("click", () => update({ view: image.file, as: "" }));
    card.image = image;
    return card;
  }

  const cards = images.map(makeCard);
  const TILE = 64; // px of a map in the gallery, which the browser enlarges
  let galleryNumber = 0; // grows when the gallery changes; cards of an earlier one are not painted

  function fill(card) {
    const { image } = card;
    const pair = pairs.find(({ key }) => key === state.pair);
    // One map for each list of classes: the map of one class, or the difference of two.
    const targets = pair
      ? [[pair.of[0]], [pair.of[1]], pair.of]
      : [[image.predicted], ...(isCorrect(image) ? [] : [[image.label]])];
    // A card with one map has no heading: its verdict names the class.
    const heading = (target) => targets.length > 1 && target.map((i) => classTexts[i]).join(" − ");
    const canvases = targets.map(() => element("canvas", { className: "map", width: 1, height: 1 }));
    const plain = panel(heading([image.label]), tile(image));
    plain.classList.add("plain");
    const probability = element("span", { className: "probability" }, percent(image.probability));
    card.replaceChildren(
      element("span", { className: "name" }, verdict(image), probability),
      element("span", { className: "panels" }, plain,
        ...targets.map((target, i) => panel(heading(target), tile(image), canvases[i]))),
      element("span", { className: "file" }, fileText(image.file)));
    const number = galleryNumber;
    load(image.bundle).then((data) => {
      if (number !== galleryNumber) return;
      canvases.forEach((canvas, i) => {
        const maps = targets[i].map((index) => storedMap(data, image.at, state.method, index));
        if (maps.includes(null)) return canvas.parentElement.classList.add("unknown");
        if (maps.length === 2 && page.one_for_all.includes(state.method)) {
          canvas.parentElement.classList.add("same");
        } else if (maps.length === 2) paintDifference(canvas, difference(...maps, TILE), TILE);
        else paint(canvas, heatmap(maps[0], TILE), TILE);
      });
    }).catch(reportFailure);
  }

  // Cards are filled when they come near the window.
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && target.filled !== galleryNumber) { target.filled = galleryNumber; fill(target); }
    }
  }, { rootMargin: "600px" });

  const PROBABILITIES = { low: [0, 0.5], middle: [0.5, 0.9], high: [0.9, 1.01] };

  function passesFilters(image) {
    const [low, high] = PROBABILITIES[state.sure] || [0, 2];
    const pair = pairs.find(({ key }) => key === state.pair);
    return (!state.label || classes[image.label] === state.label) &&
      (!state.predicted || classes[image.predicted] === state.predicted) &&
      (!state.result || isCorrect(image) === (state.result === "right")) &&
      image.probability >= low && image.probability < high &&
      (!pair || pair.of.includes(image.label));
  }

  // The cards that pass the filters, in the selected order.
  function sortedCards() {
    const method = methods.findIndex(({ key }) => key === state.method);
    const measure = measures.find(({ key }) => key === state.sort);
    const sortKeys = (image) => {
      if (measure) {
        const score = image.scores && image.scores[measure.key] ? image.scores[measure.key][method] : null;
        return [score === null, (state.reverse ? -1 : 1) * measure.better * score];
      }
      const keys = state.sort === "sure" ? [image.probability] : [image.label, isCorrect(image), image.own];
      return state.reverse ? keys.map((key) => -key) : keys;
    };
    const keyedCards = cards.filter(({ image }) => passesFilters(image)).map((card) => [sortKeys(card.image), card]);
    keyedCards.sort(([a], [b]) => {
      const i = a.findIndex((value, at) => value !== b[at]);
      return i < 0 ? 0 : a[i] - b[i];
    });
    return keyedCards.map(([, card]) => card);
  }

  let listedCards = []; // the cards in the gallery
  let drawnChoices = ""; // the choices that the gallery was drawn with

  function drawGallery() {
    const choices = [...GALLERY_CHOICES, "reverse"].map((name) => state[name]).join("\n");
    if (choices === drawnChoices) return;
    drawnChoices = choices;
    listedCards = sortedCards();
    galleryNumber++;
    observer.disconnect();
    const nodes = [];
    let label = -1; // of the class whose cards follow
    for (const card of listedCards) {
      if (state.sort === "class" && card.image.label !== label) {
        label = card.image.label;
        const classImages = images.filter((image) => image.label === label);
        const nCorrect = classImages.filter(isCorrect).length;
        nodes.push(element("h3", {}, classTexts[label],
          element("span", { className: "count" }, ` ${nCorrect} of ${classImages.length} correctly classified`)));
      }
      nodes.push(card);
    }
    $("gallery").replaceChildren(...nodes);
    $("gallery").classList.toggle("pairs", Boolean(state.pair));
    $("count").textContent = listedCards.length === images.length
      ? `${images.length} images` : `${listedCards.length} of ${images.length} images`;
    listedCards.forEach((card) => observer.observe(card));
    for (const name of GALLERY_CHOICES) {
      if ($(name)) $(name).value = state[name];
    }
    $("reverse").checked = Boolean(state.reverse);
    $("clear").disabled = !FILTERS.some((name) => state[name]);
  }

  // ---- viewer of one image --------------------------------------------------------------------

  const viewer = $("viewer");
  const SIZE = page.tile_px;
  let current = null; // {image, data, panels, plain, inside, order}: what the viewer shows
  let preview = null; // the class whose row is pointed at

  // The class whose maps the viewer shows.
  function targetClass() {
    const selected = classes.indexOf(state.as);
    return preview !== null ? preview : selected >= 0 ? selected : current.image.predicted;
  }

  async function openViewer(image) {
    const data = await load(image.bundle);
    if (state.view !== image.file) return;
    preview = null;
    const lines = () => element("canvas", { className: "lines", width: SIZE, height: SIZE });
    const panels = methods.map(({ key, title }) => {
      const canvas = element("canvas", { className: "map", width: SIZE, height: SIZE });
      const overlay = lines();
      const caption = element("figcaption", {}, title);
      const figure = element("figure", {}, element("span", { className: "panel" }, tile(image), canvas, overlay), caption);
      return { key, title, canvas, overlay, caption, figure };
    });
    const plain = lines();
    const plainFigure = element("figure", {},
      element("span", { className: "panel plain" }, tile(image), plain), element("figcaption", {}, "image"));
    current = { image, data, panels, plain, inside: data.masks ? objectMask(data, image.at, SIZE) : null };
    $("stage").replaceChildren(plainFigure, ...panels.map(({ figure }) => figure));
    $("viewer-title").textContent = fileText(image.file);
    $("viewer-verdict").textContent = `${verdict(image)}, ${percent(image.probability)}`;
    viewer.classList.toggle("wrong", !isCorrect(image));
    listClasses();
    listTables();
    if (!viewer.open) viewer.showModal();
    drawViewer();
  }

  function listClasses() {
    const { image, data } = current;
    const ranking = data.probabilities[image.at].map((share, i) => [share / 10000, i]);
    ranking.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
    current.order = ranking.map(([, i]) => i).filter((i) => data.classes[image.at].includes(i));
    $("classes").replaceChildren(...ranking.map(([probability, i]) => {
      const hasMap = data.classes[image.at].includes(i);
      const row = element("button", { type: "button", className: "class", disabled: !hasMap },
        element("span", { className: "name" }, classTexts[i], i === image.label ? element("em", {}, " true") : ""),
        element("span", { className: "bar", style: `--share:${probability}` }),
        element("span", { className: "probability" }, percent(probability)));
      row.index = i;
      row.addEventListener("pointerenter", ({ pointerType }) => {
        if (pointerType === "mouse" && hasMap) { preview = i; drawViewer(); }
      });
      row.addEventListener("pointerleave", () => { preview = null; if (current) drawViewer(); });
      row.addEventListener("click", () => update({ as: i === image.predicted ? "" : classes[i] }));
      return row;
    }));
  }

  function table(heads, rows) {
    return element("table", {},
      element("thead", {}, element("tr", {}, ...heads.map((head, i) =>
        element("th", { scope: "col", className: i ? "number" : "" }, head)))),
      element("tbody", {}, ...rows.map(([first, ...cells]) => element("tr", {},
        element("th", { scope: "row" }, first),
        ...cells.map((cell) => element("td", { className: "number" }, cell))))));
  }

  function listTables() {
    const { image, data } = current;
    const heads = methods.map(({ title }) => title);
    const number = (value) => value === null ? "–" : value.toFixed(2).replace("-", "−");
    const sections = [];
    if (image.scores) {
      const rows = measures.filter(({ key }) => image.scores[key]).map(({ key, title, better }) =>
        [`${title} ${better > 0 ? "↑" : "↓"}`, ...image.scores[key].map(number)]);
      sections.push(element("div", {}, element("h3", {}, "Scores of the map of the predicted class"),
        table(["measure", ...heads], rows)));
    }
    const parts = data.parts[image.at];
    if (parts) {
      const rows = parts.map(({ part, drop, mass }) =>
        [part, number(drop), ...mass.map((share) => share === null ? "–" : `${Math.round(100 * share)} %`)]);
      sections.push(element("div", {}, element("h3", {}, "Parts"), element("p", { className: "small" },
        "How far the logit of the predicted class falls when a part is not drawn, and which share of the map's mass on parts lies on it."),
      table(["part", "logit falls by", ...heads], rows)));
    }
    $("tables").replaceChildren(...sections);
  }

  function drawViewer() {
    const { image, data, panels, plain } = current;
    const index = targetClass(), level = state.level / 100;
    const boxes = data.boxes ? data.boxes[image.at] : [];
    const hasTruth = Boolean(current.inside) || boxes.length > 0;
    const drawTruth = (canvas) => {
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, SIZE, SIZE);
      if (!state.truth) return context;
      if (current.inside) drawOutline(context, current.inside, SIZE, "#fff");
      for (const edges of boxes) {
        const [left, top, right, bottom] = edges.map((edge) => edge * SIZE);
        drawBox(context, { left, top, right, bottom }, "#fff", []);
      }
      return context;
    };
    drawTruth(plain);
    for (const { key, title, canvas, overlay, caption } of panels) {
      const raw = storedMap(data, image.at, key, index);
      const large = raw ? heatmap(raw, SIZE) : new Float32Array(SIZE * SIZE);
      paint(canvas, large, SIZE, state.colours);
      canvas.style.opacity = state.opacity / 100;
      const isEmpty = large.every((value) => value === 0);
      const remark = !raw ? " (no map stored)" : isEmpty ? " (empty map)" : "";
      caption.textContent = `${title}: ${classTexts[index]}${remark}`;
      const context = drawTruth(overlay);
      if (level > 0 && !isEmpty) {
        drawOutline(context, (i) => large[i] >= level, SIZE, "#56b4e9");
        drawBox(context, box(large, SIZE, level), "#e69f00", [6, 4]);
      }
    }
    for (const row of $("classes").children) {
      if (row.index === index) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current");
    }
    $("truth").disabled = !hasTruth;
    for (const name of ["opacity", "level", "colours"]) $(name).value = state[name];
    $("truth").checked = hasTruth && Boolean(state.truth);
    $("opacity-value").textContent = `${state.opacity} %`;
    $("level-value").textContent = level ? `${state.level} % of the maximum` : "off";
    const at = listedCards.findIndex((card) => card.image === image);
    $("place").textContent = at < 0 ? "" : `${at + 1} of ${listedCards.length}`;
    $("previous").disabled = at <= 0;
    $("next").disabled = at < 0 || at + 1 === listedCards.length;
  }

  function stepImage(by) {
    const at = listedCards.findIndex((card) => card.image === current.image) + by;
    if (listedCards[at]) update({ view: listedCards[at].image.file, as: "" });
  }

  function stepClass(by) {
    const at = current.order.indexOf(targetClass()) + by;
    if (at < 0 || at >= current.order.length) return;
    const index = current.order[at];
    preview = null;
    update({ as: index === current.image.predicted ? "" : classes[index] });
    $("classes").querySelector("[aria-current]").scrollIntoView({ block: "nearest" });
  }

  function reportFailure(error) {
    $("count").textContent = `Some data could not be loaded (${error.message}): keep index.html beside its folder images/.`;
  }

  function draw() {
    drawGallery();
    const image = images.find(({ file }) => file === state.view);
    if (!image) {
      current = null;
      if (viewer.open) viewer.close();
    } else if (current && current.image === image) drawViewer();
    else openViewer(image).catch((error) => { viewer.close(); reportFailure(error); });
  }

  // ---- events -----------------------------------------------------------------------------------

  for (const name of CHOICES) {
    if ($(name)) $(name).addEventListener("change", ({ target }) => update({ [name]: target.value }));
  }
  for (const name of ["opacity", "level"]) {
    $(name).addEventListener("input", ({ target }) => update({ [name]: target.value }));
  }
  for (const name of ["reverse", "truth"]) {
    $(name).addEventListener("change", ({ target }) => update({ [name]: target.checked ? "1" : "" }));
  }
  $("clear").addEventListener("click", () => update(Object.fromEntries(FILTERS.map((name) => [name, ""]))));
  $("previous").addEventListener("click", () => stepImage(-1));
  $("next").addEventListener("click", () => stepImage(1));
  $("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", ({ target }) => { if (target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => {
    if (!current) return;
    const { file } = current.image;
    current = null;
    update({ view: "", as: "" });
    const card = cards.find(({ image }) => image.file === file);
    if (card && card.isConnected) card.focus();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !viewer.open || !current) return;
    if (event.target.matches("select, input[type=range]")) return;
    const action = { ArrowLeft: () => stepImage(-1), ArrowRight: () => stepImage(1), ArrowUp: () => stepClass(-1), ArrowDown: () => stepClass(1) }[event.key];
    if (action) { event.preventDefault(); action(); }
  });

  let touchStart = null; // where a finger went down
  $("stage").addEventListener("touchstart", ({ touches }) => { touchStart = touches.length === 1 ? touches[0] : null; }, { passive: true });
  $("stage").addEventListener("touchend", ({ changedTouches }) => {
    if (!touchStart) return;
    const x = changedTouches[0].clientX - touchStart.clientX, y = changedTouches[0].clientY - touchStart.clientY;
    if (Math.abs(x) > 50 && Math.abs(x) > 2 * Math.abs(y)) stepImage(x < 0 ? 1 : -1);
    touchStart = null;
  });

  function followAddress() {
    const hasState = location.hash.includes("=");
    if (hasState || !location.hash) readAddress(); // a link to a section does not change the state
    draw();
    if (hasState && !state.view) $("filters").scrollIntoView();
  }
  window.addEventListener("hashchange", followAddress);
  document.documentElement.classList.add("alive");
  addEventListener("DOMContentLoaded", followAddress);

  // The bundles call `put`; the tests call the other functions.
  return { put, difference, box, paintDifference };
})();
