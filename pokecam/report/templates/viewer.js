"use strict";
// The gallery of test images and the viewer of one. Maps are computed here from the stored ones,
// as pokecam/cam/display.py and overlay.py do it; the tests hold both to the same pixels.
// Chrome lets no page fetch a file beside it, so the data come as scripts that call `pokecam.put`.

window.pokecam = (() => {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  const { classes, methods, measures, images, pairs } = page;
  const COLOURS = Object.fromEntries(
    Object.entries(page.colours).map(([name, text]) => [name, bytes(text)]));
  const AGAINST = bytes(page.against);

  const $ = (id) => document.getElementById(id);
  const FILTERS = ["label", "predicted", "result", "sure", "pair"];
  const LISTED = [...FILTERS, "method", "sort"]; // with `reverse`, what decides how the gallery looks
  const CHOICES = [...LISTED, "colours"];

  // ---- maps ---------------------------------------------------------------------------------

  function bytes(base64) {
    return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  }

  // Linear interpolation with align_corners=False: for every output pixel its two neighbours and
  // how far it is on the way from the first to the second.
  function steps(small, large) {
    return Array.from({ length: large }, (_, i) => {
      const centre = Math.min(Math.max(((i + 0.5) * small) / large - 0.5, 0), small - 1);
      const below = Math.floor(centre);
      return [below, Math.min(below + 1, small - 1), centre - below];
    });
  }

  function upsampled(values, size, [height, width]) {
    const across = steps(width, size);
    const rows = Array.from({ length: height }, (_, y) =>
      across.map(([a, b, f]) => values[y * width + a] * (1 - f) + values[y * width + b] * f));
    const large = new Float32Array(size * size);
    steps(height, size).forEach(([a, b, f], y) => {
      for (let x = 0; x < size; x++) large[y * size + x] = rows[a][x] * (1 - f) + rows[b][x] * f;
    });
    return large;
  }

  // What is shown of a map, {values, shape}: ReLU, upsampling, division by the maximum; nothing of
  // a constant one.
  function shown({ values, shape }, size) {
    const positive = Array.from(values, (v) => Math.max(v, 0));
    if (positive.every((v) => v === positive[0])) return new Float32Array(size * size);
    const large = upsampled(positive, size, shape);
    const highest = large.reduce((a, b) => Math.max(a, b), 0);
    return large.map((v) => v / highest);
  }

  // For one class and against another: in [-1, 1].
  function difference(a, b, size) {
    const large = upsampled(Array.from(a.values, (v, i) => v - b.values[i]), size, a.shape);
    const highest = large.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    return highest ? large.map((v) => v / highest) : large;
  }

  // The tight box around the largest 8-connected component of the pixels that reach `level`.
  function box(large, size, level) {
    const seen = new Uint8Array(size * size);
    let best = null;
    for (let start = 0; start < seen.length; start++) {
      if (seen[start] || large[start] < level) continue;
      const found = { n: 0, left: size, top: size, right: 0, bottom: 0 };
      const todo = [start];
      seen[start] = 1;
      while (todo.length) {
        const at = todo.pop();
        const x = at % size, y = (at - x) / size;
        found.n++;
        found.left = Math.min(found.left, x);
        found.top = Math.min(found.top, y);
        found.right = Math.max(found.right, x + 1);
        found.bottom = Math.max(found.bottom, y + 1);
        for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, size - 1); v++) {
          for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, size - 1); u++) {
            const next = v * size + u;
            if (!seen[next] && large[next] >= level) { seen[next] = 1; todo.push(next); }
          }
        }
      }
      if (!best || found.n > best.n) best = found;
    }
    return best;
  }

  function painted(canvas, index, colours, size) {
    canvas.width = canvas.height = size;
    const image = new ImageData(size, size);
    for (let i = 0; i < index.length; i++) {
      image.data.set(colours.subarray(3 * index[i], 3 * index[i] + 3), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  function paint(canvas, large, size, colours = "inferno") {
    painted(canvas, large.map((v) => Math.round(v * 255)), COLOURS[colours], size);
  }

  function paintDifference(canvas, large, size) {
    painted(canvas, large.map((v) => Math.round((1 - v) * 127.5)), AGAINST, size);
  }

  // A dark line with a light one inside it, where `inside` ends: seen on any image.
  function outline(context, inside, size, colour) {
    for (const [width, style] of [[3, "rgb(0 0 0 / .75)"], [1, colour]]) {
      context.fillStyle = style;
      for (let y = 0; y < size; y++) {
        for (let x = 0; x < size; x++) {
          const here = inside(y * size + x);
          if ((x + 1 < size && here !== inside(y * size + x + 1)) ||
              (y + 1 < size && here !== inside((y + 1) * size + x))) {
            context.fillRect(x - (width - 1) / 2, y - (width - 1) / 2, width, width);
          }
        }
      }
    }
  }

  function frame(context, { left, top, right, bottom }, colour, dash) {
    context.setLineDash(dash);
    for (const [width, style] of [[4, "rgb(0 0 0 / .75)"], [2, colour]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.strokeRect(left + 1, top + 1, Math.max(right - left - 2, 1), Math.max(bottom - top - 2, 1));
    }
  }

  // ---- data that come when they are needed --------------------------------------------------

  const arrived = new Map(), wanted = new Map();

  function put(name, data) {
    const stored = {};
    for (const [method, { scale, values }] of Object.entries(data.maps)) {
      stored[method] = { scale, values: new Int16Array(bytes(values).buffer) };
    }
    arrived.set(name, { ...data, maps: stored, masks: data.masks && bytes(data.masks) });
  }

  function bundle(name) {
    if (!wanted.has(name)) {
      wanted.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `images/${name}.js`;
        script.onload = () => resolve(arrived.get(name));
        script.onerror = () => {
          wanted.delete(name); // to be asked for again
          reject(new Error(`images/${name}.js is missing`));
        };
        document.head.append(script);
      }));
    }
    return wanted.get(name);
  }

  // The stored map of one class, or null if there is none.
  function map(data, at, method, index) {
    const place = page.one_for_all.includes(method) ? 0 : data.classes[at].indexOf(index);
    if (place < 0) return null;
    const { scale, values } = data.maps[method];
    const shape = methods.find(({ key }) => key === method).size;
    const n = shape[0] * shape[1], first = (at * data.classes[at].length + place) * n;
    return { values: Float64Array.from(values.subarray(first, first + n), (v) => v * scale[at][place]), shape };
  }

  // Whether a pixel of the image is on the object, from the small mask that is stored.
  function mask(data, at, size) {
    const side = page.mask_px;
    const bits = Array.from({ length: side * side }, (_, i) => {
      const bit = at * side * side + i;
      return (data.masks[bit >> 3] >> (7 - (bit & 7))) & 1;
    });
    if (!bits.includes(1)) return null;
    const large = upsampled(bits, size, [side, side]);
    return (i) => large[i] >= 0.5;
  }

  // ---- state: all of it is in the address -----------------------------------------------------

  const DEFAULTS = {
    label: "", predicted: "", result: "", sure: "", pair: "", method: methods[0].key, sort: "class",
    reverse: "", view: "", as: "", opacity: "65", level: "0", truth: "1", colours: "inferno",
  };
  let state = { ...DEFAULTS };

  // Whether a value of the address can be: it may have been written by hand, or for another report.
  function allowed(key, value) {
    if (CHOICES.includes(key)) return $(key) && [...$(key).options].some((one) => one.value === value);
    if (key === "opacity" || key === "level") return value >= 0 && value <= Number($(key).max);
    if (key === "view") return images.some(({ file }) => file === value);
    if (key === "as") return classes.includes(value);
    return value === "" || value === "1";
  }

  function read() {
    state = { ...DEFAULTS };
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      if (Object.hasOwn(DEFAULTS, key) && allowed(key, value)) state[key] = value;
    }
  }

  function address() {
    const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
    return "#" + (changed.length ? changed.map((pair) => pair.map(encodeURIComponent).join("=")).join("&") : "images");
  }

  let writing = 0, written = 0; // a timer, and when the address was written last

  // Browsers refuse an address that changes too often, as it would while a key is held.
  function go(change) {
    Object.assign(state, change);
    show();
    clearTimeout(writing);
    writing = setTimeout(() => {
      written = performance.now();
      history.replaceState(null, "", address());
    }, Math.max(0, written + 400 - performance.now()));
  }

  // ---- gallery ----------------------------------------------------------------------------------

  // A name written from right to left would take the numbers beside it along. It gets a place of its
  // own between U+2068 and U+2069; other names stay as they are, to be found and copied.
  const TURNS = /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
  const apart = (name) => TURNS.test(name) ? `\u2068${name}\u2069` : name;
  const shownClasses = classes.map(apart);
  const shownFile = (file) => file.split("/").map(apart).join("/");

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in made && name !== "style") made[name] = value; else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  // The image, cut out of the image that holds those of its bundle.
  function tile(image) {
    const { columns, rows } = page.bundles[image.bundle];
    const x = image.at % columns, y = Math.floor(image.at / columns);
    const made = element("span", { className: "tile" });
    made.style.backgroundImage = `url("images/${image.bundle}.jpg")`;
    made.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
    made.style.backgroundPosition =
      `${columns > 1 ? (100 * x) / (columns - 1) : 0}% ${rows > 1 ? (100 * y) / (rows - 1) : 0}%`;
    return made;
  }

  function panel(heading, ...layers) {
    const named = heading ? [element("span", { className: "heading" }, heading)] : [];
    return element("span", { className: "panel" }, ...layers, ...named);
  }

  function verdict(image) {
    const right = image.label === image.predicted;
    return `${right ? "✓" : "✗"} ${right ? "" : "taken for "}${shownClasses[image.predicted]}`;
  }

  function card(image) {
    const right = image.label === image.predicted;
    const made = element("button", { type: "button", className: right ? "card" : "card wrong" });
    made.dataset.file = image.file;
    made.setAttribute("aria-label", `${verdict(image)}, ${percent(image.probability)}, ${image.file}`);
    made.addEventListener("click", () => go({ view: image.file, as: "" }));
    made.image = image;
    return made;
  }

  const cards = images.map(card);
  const TILE = 64; // px of a map in the gallery, which the browser enlarges
  let painting = 0; // a number for each way to paint: what was begun for another is dropped

  function fill(made) {
    const { image } = made;
    const pair = pairs.find((one) => one.key === state.pair);
    const wants = pair
      ? [[pair.of[0]], [pair.of[1]], pair.of]
      : [[image.predicted], ...(image.label === image.predicted ? [] : [[image.label]])];
    // Where all of it is one class, its name is above.
    const named = (want) => wants.length > 1 && want.map((i) => shownClasses[i]).join(" − ");
    const maps = wants.map(() => element("canvas", { className: "map", width: 1, height: 1 }));
    const plain = panel(named([image.label]), tile(image));
    plain.classList.add("plain");
    const sure = element("span", { className: "probability" }, percent(image.probability));
    made.replaceChildren(
      element("span", { className: "name" }, verdict(image), sure),
      element("span", { className: "panels" }, plain,
        ...wants.map((want, i) => panel(named(want), tile(image), maps[i]))),
      element("span", { className: "file" }, shownFile(image.file)));
    const number = painting;
    bundle(image.bundle).then((data) => {
      if (number !== painting) return;
      maps.forEach((canvas, i) => {
        const found = wants[i].map((index) => map(data, image.at, state.method, index));
        if (found.includes(null)) return canvas.parentElement.classList.add("unknown");
        if (found.length === 2 && page.one_for_all.includes(state.method)) {
          canvas.parentElement.classList.add("same");
        } else if (found.length === 2) paintDifference(canvas, difference(...found, TILE), TILE);
        else paint(canvas, shown(found[0], TILE), TILE);
      });
    }).catch(failed);
  }

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && target.filled !== painting) { target.filled = painting; fill(target); }
    }
  }, { rootMargin: "600px" });

  const SURE = { low: [0, 0.5], middle: [0.5, 0.9], high: [0.9, 1.01] };

  function fits(image) {
    const right = image.label === image.predicted;
    const [low, high] = SURE[state.sure] || [0, 2];
    const pair = pairs.find(({ key }) => key === state.pair);
    return (!state.label || classes[image.label] === state.label) &&
      (!state.predicted || classes[image.predicted] === state.predicted) &&
      (!state.result || right === (state.result === "right")) &&
      image.probability >= low && image.probability < high &&
      (!pair || pair.of.includes(image.label));
  }

  function order() {
    const method = methods.findIndex(({ key }) => key === state.method);
    const measure = measures.find(({ key }) => key === state.sort);
    const keyed = (p) => {
      if (measure) {
        const score = p.scores && p.scores[measure.key] ? p.scores[measure.key][method] : null;
        return [score === null, (state.reverse ? -1 : 1) * measure.better * score];
      }
      const sure = [p.label === p.predicted, p.own];
      const keys = state.sort === "sure" ? [p.probability] : [p.label, ...sure];
      return state.reverse ? keys.map((key) => -key) : keys;
    };
    const found = cards.filter(({ image }) => fits(image)).map((made) => [keyed(made.image), made]);
    found.sort(([a], [b]) => {
      const i = a.findIndex((value, at) => value !== b[at]);
      return i < 0 ? 0 : a[i] - b[i];
    });
    return found.map(([, made]) => made);
  }

  let listed = [];
  let looks = "";

  function gallery() {
    const asked = [...LISTED, "reverse"].map((name) => state[name]).join("\n");
    if (asked === looks) return;
    looks = asked;
    listed = order();
    painting++;
    near.disconnect();
    const nodes = [];
    let last = -1;
    for (const made of listed) {
      if (state.sort === "class" && made.image.label !== last) {
        last = made.image.label;
        const own = images.filter(({ label }) => label === last);
        const right = own.filter(({ label, predicted }) => label === predicted).length;
        nodes.push(element("h3", {}, shownClasses[last],
          element("span", { className: "count" }, ` ${right} of ${own.length} right`)));
      }
      nodes.push(made);
    }
    $("gallery").replaceChildren(...nodes);
    $("gallery").classList.toggle("pairs", Boolean(state.pair));
    $("count").textContent = listed.length === images.length
      ? `${images.length} images` : `${listed.length} of ${images.length} images`;
    listed.forEach((made) => near.observe(made));
    for (const name of LISTED) {
      if ($(name)) $(name).value = state[name];
    }
    $("reverse").checked = Boolean(state.reverse);
    $("clear").disabled = !FILTERS.some((name) => state[name]);
  }

  // ---- viewer of one image --------------------------------------------------------------------

  const viewer = $("viewer");
  const SIZE = page.tile_px;
  let opened = null; // {image, data, panels}
  let preview = null; // the class whose row is pointed at

  function current() {
    const named = classes.indexOf(state.as);
    return preview !== null ? preview : named >= 0 ? named : opened.image.predicted;
  }

  async function open(image) {
    const data = await bundle(image.bundle);
    if (state.view !== image.file) return;
    preview = null;
    const lines = () => element("canvas", { className: "lines", width: SIZE, height: SIZE });
    const panels = methods.map(({ key, title }) => {
      const canvas = element("canvas", { className: "map", width: SIZE, height: SIZE });
      const drawn = lines();
      const caption = element("figcaption", {}, title);
      const figure = element("figure", {}, element("span", { className: "panel" }, tile(image), canvas, drawn), caption);
      return { key, title, canvas, drawn, caption, figure };
    });
    const plain = lines();
    const truth = element("figure", {},
      element("span", { className: "panel plain" }, tile(image), plain), element("figcaption", {}, "image"));
    opened = { image, data, panels, plain, inside: data.masks ? mask(data, image.at, SIZE) : null };
    $("stage").replaceChildren(truth, ...panels.map(({ figure }) => figure));
    $("viewer-title").textContent = shownFile(image.file);
    $("viewer-verdict").textContent = `${verdict(image)}, ${percent(image.probability)}`;
    viewer.classList.toggle("wrong", image.label !== image.predicted);
    listClasses();
    tables();
    if (!viewer.open) viewer.showModal();
    draw();
  }

  function listClasses() {
    const { image, data } = opened;
    const all = data.probabilities[image.at].map((share, i) => [share / 10000, i]);
    all.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
    opened.order = all.map(([, i]) => i).filter((i) => data.classes[image.at].includes(i));
    $("classes").replaceChildren(...all.map(([share, i]) => {
      const stored = data.classes[image.at].includes(i);
      const row = element("button", { type: "button", className: "class", disabled: !stored },
        element("span", { className: "name" }, shownClasses[i], i === image.label ? element("em", {}, " true") : ""),
        element("span", { className: "bar", style: `--share:${share}` }),
        element("span", { className: "probability" }, percent(share)));
      row.index = i;
      row.addEventListener("pointerenter", ({ pointerType }) => {
        if (pointerType === "mouse" && stored) { preview = i; draw(); }
      });
      row.addEventListener("pointerleave", () => { preview = null; if (opened) draw(); });
      row.addEventListener("click", () => go({ as: i === image.predicted ? "" : classes[i] }));
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

  function tables() {
    const { image, data } = opened;
    const heads = methods.map(({ title }) => title);
    const number = (value) => value === null ? "–" : value.toFixed(2).replace("-", "−");
    const made = [];
    if (image.scores) {
      const rows = measures.filter(({ key }) => image.scores[key]).map(({ key, title, better }) =>
        [`${title} ${better > 0 ? "↑" : "↓"}`, ...image.scores[key].map(number)]);
      made.push(element("div", {}, element("h3", {}, "Scores of the map of the predicted class"),
        table(["measure", ...heads], rows)));
    }
    const parts = data.parts[image.at];
    if (parts) {
      const rows = parts.map(({ part, drop, mass }) =>
        [part, number(drop), ...mass.map((share) => share === null ? "–" : `${Math.round(100 * share)} %`)]);
      made.push(element("div", {}, element("h3", {}, "Parts"), element("p", { className: "small" },
        "What the logit of the predicted class falls by when a part is not drawn, and how much of the map's mass on parts lies on it."),
      table(["part", "logit falls by", ...heads], rows)));
    }
    $("tables").replaceChildren(...made);
  }

  function draw() {
    const { image, data, panels, plain } = opened;
    const index = current(), level = state.level / 100;
    const boxes = data.boxes ? data.boxes[image.at] : [];
    const known = Boolean(opened.inside) || boxes.length > 0;
    const truth = (canvas) => {
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, SIZE, SIZE);
      if (!state.truth) return context;
      if (opened.inside) outline(context, opened.inside, SIZE, "#fff");
      for (const edges of boxes) {
        const [left, top, right, bottom] = edges.map((edge) => edge * SIZE);
        frame(context, { left, top, right, bottom }, "#fff", []);
      }
      return context;
    };
    truth(plain);
    for (const { key, title, canvas, drawn, caption } of panels) {
      const values = map(data, image.at, key, index);
      const large = values ? shown(values, SIZE) : new Float32Array(SIZE * SIZE);
      paint(canvas, large, SIZE, state.colours);
      canvas.style.opacity = state.opacity / 100;
      const nowhere = large.every((value) => value === 0);
      const remark = !values ? " (no map stored)" : nowhere ? " (points nowhere)" : "";
      caption.textContent = `${title}: ${shownClasses[index]}${remark}`;
      const context = truth(drawn);
      if (level > 0 && !nowhere) {
        outline(context, (i) => large[i] >= level, SIZE, "#56b4e9");
        frame(context, box(large, SIZE, level), "#e69f00", [6, 4]);
      }
    }
    for (const row of $("classes").children) {
      if (row.index === index) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current");
    }
    $("truth").disabled = !known;
    for (const name of ["opacity", "level", "colours"]) $(name).value = state[name];
    $("truth").checked = known && Boolean(state.truth);
    $("opacity-value").textContent = `${state.opacity} %`;
    $("level-value").textContent = level ? `${state.level} % of the maximum` : "off";
    const at = listed.findIndex((made) => made.image === image);
    $("place").textContent = at < 0 ? "" : `${at + 1} of ${listed.length}`;
    $("previous").disabled = at <= 0;
    $("next").disabled = at < 0 || at + 1 === listed.length;
  }

  function step(by) {
    const at = listed.findIndex((made) => made.image === opened.image) + by;
    if (listed[at]) go({ view: listed[at].image.file, as: "" });
  }

  function stepClass(by) {
    const at = opened.order.indexOf(current()) + by;
    if (at < 0 || at >= opened.order.length) return;
    const index = opened.order[at];
    preview = null;
    go({ as: index === opened.image.predicted ? "" : classes[index] });
    $("classes").querySelector("[aria-current]").scrollIntoView({ block: "nearest" });
  }

  function failed(error) {
    $("count").textContent = `Some data could not be loaded (${error.message}): keep index.html beside its folder images/.`;
  }

  function show() {
    gallery();
    const image = images.find(({ file }) => file === state.view);
    if (!image) {
      opened = null;
      if (viewer.open) viewer.close();
    } else if (opened && opened.image === image) draw();
    else open(image).catch((error) => { viewer.close(); failed(error); }); // told in the gallery
  }

  // ---- what the user does -------------------------------------------------------------------------

  for (const name of CHOICES) {
    if ($(name)) $(name).addEventListener("change", ({ target }) => go({ [name]: target.value }));
  }
  for (const name of ["opacity", "level"]) {
    $(name).addEventListener("input", ({ target }) => go({ [name]: target.value }));
  }
  for (const name of ["reverse", "truth"]) {
    $(name).addEventListener("change", ({ target }) => go({ [name]: target.checked ? "1" : "" }));
  }
  $("clear").addEventListener("click", () => go(Object.fromEntries(FILTERS.map((name) => [name, ""]))));
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("click", ({ target }) => { if (target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => {
    if (!opened) return;
    const { file } = opened.image;
    opened = null;
    go({ view: "", as: "" });
    const made = cards.find(({ image }) => image.file === file);
    if (made && made.isConnected) made.focus();
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !viewer.open || !opened) return;
    if (event.target.matches("select, input[type=range]")) return;
    const does = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => stepClass(-1), ArrowDown: () => stepClass(1) }[event.key];
    if (does) { event.preventDefault(); does(); }
  });

  let touched = null; // where a finger went down
  $("stage").addEventListener("touchstart", ({ touches }) => { touched = touches.length === 1 ? touches[0] : null; }, { passive: true });
  $("stage").addEventListener("touchend", ({ changedTouches }) => {
    if (!touched) return;
    const x = changedTouches[0].clientX - touched.clientX, y = changedTouches[0].clientY - touched.clientY;
    if (Math.abs(x) > 50 && Math.abs(x) > 2 * Math.abs(y)) step(x < 0 ? 1 : -1);
    touched = null;
  });

  function arrive() {
    const asked = location.hash.includes("=");
    if (asked || !location.hash) read(); // a link to a section leaves all as it is
    show();
    if (asked && !state.view) $("filters").scrollIntoView();
  }
  window.addEventListener("hashchange", arrive);
  document.documentElement.classList.add("alive");
  addEventListener("DOMContentLoaded", arrive);

  // Beside `put`, what the tests call.
  return { put, difference, box, paintDifference };
})();
