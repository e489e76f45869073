// The parts that the page and the notebook's widget share: pictures of images, a map of codes, sliders along a code.

const CLASS_COLORS = ["#1f77b4", "#d95f02", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#d648a8", "#6b6b6b", "#8a8b00", "#0f93a3"];

// An element with attributes (or, where the value is a function, listeners) and children, nodes or text.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// A canvas of 28x28 pixels, enlarged by the style sheet, that says in words what it shows.
function picture(label, extra = "") {
  return element("canvas", { width: 28, height: 28, class: `pixels ${extra}`, role: "img", "aria-label": label });
}

// Show an image (784 numbers in [0, 1], 1 for ink) on a `picture`; as on paper, whatever the page's colors.
function show(canvas, image) {
  const context = canvas.getContext("2d"), pixels = context.createImageData(28, 28);
  for (let i = 0; i < 784; i++) {
    pixels.data.fill(255 - Math.round(255 * clamp(image[i])), 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// A labelled slider; `changed` is called with its number.
function slider(label, { min, max, step, value }, changed) {
  const said = element("output", {}), input = element("input", { type: "range", min, max, step, value, "aria-label": label });
  const say = () => (said.textContent = Number(input.value).toFixed(step < 1 ? 2 : 0));
  input.addEventListener("input", () => (say(), changed(Number(input.value))));
  say();
  return { row: element("label", { class: "slider" }, element("span", {}, label), input, said), input, say };
}

// A map of codes. `points` are [x, y] for each image, `labels` their classes. What lies at a place is told by `moved`,
// called with the place in the points' units and the index of the nearest image; `chosen`, if given, with the latter at
// a click or Enter. The pointer moves the cross, or the arrow keys do, or the element's method `go(point)`; its method
// `mark(indices)` puts rings around images.
function codeMap(points, labels, label, moved, chosen) {
  const side = 640, margin = 16, marks = element("canvas", { width: side, height: side });
  const cross = element("canvas", { width: side, height: side, tabindex: 0, role: "application", "aria-label": label });
  const ends = [0, 1].map((axis) => {
    const sorted = points.map((point) => point[axis]).sort((a, b) => a - b), cut = Math.floor(sorted.length / 200);
    const low = sorted[cut], high = sorted[sorted.length - 1 - cut], room = 0.06 * (high - low || 1);
    return [low - room, high + room];
  });
  const toCanvas = (value, axis) => {
    const share = (value - ends[axis][0]) / (ends[axis][1] - ends[axis][0]);
    return margin + (side - 2 * margin) * (axis ? 1 - share : share);
  };
  const fromCanvas = (place, axis) => {
    const share = (place - margin) / (side - 2 * margin);
    return ends[axis][0] + (ends[axis][1] - ends[axis][0]) * (axis ? 1 - share : share);
  };
  const places = points.map((point) => [toCanvas(point[0], 0), toCanvas(point[1], 1)]);
  const context = marks.getContext("2d");
  context.font = "bold 13px sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  places.forEach(([x, y], i) => {  // the class as a digit: a color alone would not tell everybody
    context.fillStyle = CLASS_COLORS[labels[i]];
    context.fillText(labels[i], x, y);
  });

  let at = [side / 2, side / 2], marked = [];
  const draw = cross.getContext("2d");
  function rings() {
    draw.clearRect(0, 0, side, side);
    for (const [[x, y], inner] of [...marked.map((i) => [places[i], "#d95f02"]), [at, "#000000"]]) {
      for (const [width, color] of [[5, "#ffffff"], [2, inner]]) {
        Object.assign(draw, { lineWidth: width, strokeStyle: color });
        draw.beginPath();
        draw.arc(x, y, 14, 0, 2 * Math.PI);
        draw.stroke();
      }
    }
  }
  function move(x, y) {
    at = [x, y].map((place) => Math.min(side, Math.max(0, place)));
    const distance = ([a, b]) => (a - at[0]) ** 2 + (b - at[1]) ** 2;
    const nearest = places.reduce((best, place, i) => (distance(place) < distance(places[best]) ? i : best), 0);
    rings();
    moved([fromCanvas(at[0], 0), fromCanvas(at[1], 1)], nearest);
    return nearest;
  }
  const placeOf = (event) => {
    const box = cross.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * side, ((event.clientY - box.top) / box.height) * side];
  };
  cross.addEventListener("pointermove", (event) => move(...placeOf(event)));
  cross.addEventListener("pointerdown", (event) => {
    const nearest = move(...placeOf(event));
    if (chosen) chosen(nearest);
  });
  cross.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 40 : 8;
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step], Enter: [0, 0] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();  // the page stays where it is
    const nearest = move(at[0] + way[0], at[1] + way[1]);
    if (event.key === "Enter" && chosen) chosen(nearest);
  });
  move(...at);
  const made = element("div", { class: "map" }, marks, cross);
  made.go = (point) => move(toCanvas(point[0], 0), toCanvas(point[1], 1));
  made.mark = (indices) => ((marked = indices), rings());
  return made;
}

// Sliders along the dimensions of a code, in the given order, and what the decoder draws from it: an element with a
// method `start(code)`. `names` say what each dimension is.
function codeSliders(decode, order, names, shown) {
  const drawn = picture("what the decoder draws", "large"), rows = [];
  let code = [];
  function redraw() {
    drawn.dataset.code = code.join(" ");
    show(drawn, decode(code));
  }
  for (const dimension of order.slice(0, shown)) {
    rows.push({ dimension, ...slider(names[dimension], { min: -4, max: 4, step: 0.05, value: 0 }, (value) => {
      code[dimension] = value;
      redraw();
    }) });
  }
  const made = element("div", { class: "beside" }, element("div", { class: "seen" }, drawn), element("div", { class: "sliders" }, ...rows.map((one) => one.row)));
  made.start = (from) => {
    code = Array.from(from);
    for (const { dimension, input, say } of rows) {
      const reach = Math.max(4, Math.ceil(Math.abs(code[dimension]) * 1.5));
      Object.assign(input, { min: -reach, max: reach, value: code[dimension] });
      say();
    }
    redraw();
  };
  return made;
}

// Which mark stands for which class, for who does not know it from the digit.
function legend(names) {
  const entries = names.map((name, i) => element("span", { style: `color: ${CLASS_COLORS[i]}` }, String(i) === name ? name : `${i} ${name}`));
  return element("p", { class: "legend", "aria-label": "classes on the map" }, ...entries);
}

// An autoencoder's map: every place of two numbers is a code that the decoder draws; of more numbers, `points` is a flat
// picture of the `codes` (else null), the code is that of the nearest image, and `images` gives that one. On a map of two
// numbers, `locate(image)` moves the cross to the code of an image.
function explorer({ network, weights, points, codes, labels, images, names, title, figure }) {
  const two = codes === null, drawn = picture(`${title}: what the decoder draws`, "large"), said = element("p", { class: "said" });
  const decode = (code) => compute(network.decoder, weights, code);
  const original = picture(`${title}: the image there`, "large");
  function moved(place, nearest) {
    const code = two ? place : codes[nearest];
    drawn.dataset.code = Array.from(code).join(" ");
    show(drawn, decode(code));
    if (!two) show(original, images(nearest));
    said.textContent = two ? `code ${place.map((x) => x.toFixed(2)).join(", ")}` : `class ${names[labels[nearest]]}`;
  }
  const picked = [], path = element("div", { class: "strip" });
  function chosen(nearest) {
    picked.push(nearest);
    if (picked.length > 2) picked.splice(0, picked.length - 1);
    map.mark(picked);
    const ends = picked.map((i) => codes[i]), parts = picked.length === 2 ? [0, 1, 2, 3, 4, 5, 6, 7, 8].map((k) => k / 8) : [0];
    path.replaceChildren(...parts.map((part) => {
      const code = ends[0].map((from, d) => from + part * ((ends[1] ?? ends[0])[d] - from));
      return show(picture(ends[1] ? `${Math.round(100 * part)}% of the way` : "start of the path"), decode(code));
    }));
  }
  const map = codeMap(points, labels, `${title}. Arrow keys move, Enter picks.`, moved, two ? null : chosen);
  const seen = element("div", { class: "seen" }, ...(two ? [] : [original]), drawn, said);
  const hint = "Pick two images by click or Enter: the decoder draws the straight line between their codes.";
  const below = two ? [] : [element("p", { class: "hint" }, hint), path];
  const head = [element("h3", {}, title), ...(figure ? [element("p", { class: "measured" }, figure)] : [])];
  const made = element("div", { class: "explorer" }, ...head, element("div", { class: "beside" }, map, seen), ...below);
  made.locate = (image) => map.go(compute(network.code, weights, compute(network.trunk, weights, image)));
  return made;
}
