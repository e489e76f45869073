// The page "Try it". window.LIVE, from live-data.js, holds networks, digits and maps (page.py).

const page = {};  // the current digit and who wants to know of it

function choose(image) {
  page.image = image;
  for (const listener of page.listeners) listener(image);
}

// What all networks say of an image: an element with a method `tell(image)`.
function answers(live, weights) {
  const says = element("p", { class: "hint", role: "status" }), rows = live.networks.map((network) => {
    const said = element("span", { class: "says" });
    const bars = live.names.map((name, i) => element("span", { class: "bar", title: name }, element("i"), String(i)));
    const inside = element("div", { class: "inside" }), drawn = network.decoder && picture(`${network.title}: reconstruction`);
    const code = network.decoder && element("canvas", { class: "code", width: network.decoder[0].inputs / 2, height: 2, role: "img", "aria-label": `${network.title}: code` });
    const error = element("span", { class: "measured" });
    if (network.decoder) inside.append(element("span", {}, code, error), drawn);
    const head = element("div", {}, element("span", { class: "name" }, network.title), said, element("div", { class: "measured" }, network.figure));
    const row = element("div", { class: "network" }, head, element("div", { class: "bars", role: "img" }, ...bars), inside);
    return { network, row, said, bars, code, drawn, error };
  });
  const made = element("div", {}, says, element("div", { class: "networks" }, ...rows.map((one) => one.row)));
  made.tell = (image) => {
    const classes = rows.map(({ network, row, said, bars, code, drawn, error }) => {
      const answer = ask(network, weights, image), most = answer.probabilities.indexOf(Math.max(...answer.probabilities));
      said.textContent = `says ${live.names[most]}, ${(100 * answer.probabilities[most]).toFixed(1)}% sure`;
      bars.forEach((bar, i) => {
        bar.firstChild.style.height = `${2.6 * answer.probabilities[i]}rem`;
        bar.className = i === most ? "bar most" : "bar";
      });
      const percents = answer.probabilities.map((p, i) => `${live.names[i]} ${(100 * p).toFixed(0)}%`);
      row.children[1].setAttribute("aria-label", percents.join(", "));
      row.dataset.probabilities = JSON.stringify(answer.probabilities.map((p) => Number(p.toFixed(4))));
      if (drawn) {
        show(drawn, answer.drawn);
        showCode(code, answer.code);
        error.textContent = `code; redrawn with error ${answer.error.toFixed(1)}`;
      }
      return live.names[most];
    });
    const kinds = [...new Set(classes)];
    says.textContent = kinds.length === 1 ? `All networks say ${kinds[0]}.` : `They differ: ${classes.join(", ")}.`;
  };
  return made;
}

// A code as a row of cells, from blue (below 0) over white to orange, in units of 3.
function showCode(canvas, code) {
  const context = canvas.getContext("2d");
  code.forEach((value, i) => {
    const share = Math.min(1, Math.abs(value) / 3), fade = (full) => Math.round(255 - share * (255 - full));
    context.fillStyle = value < 0 ? `rgb(${fade(31)},${fade(119)},${fade(180)})` : `rgb(${fade(217)},${fade(95)},${fade(2)})`;
    context.fillRect(i >> 1, i & 1, 1, 1);
  });
}

// A field to draw in: by mouse, finger or pen, or by keyboard: arrows move the pen, Space lifts or lowers it.
function drawing(live, weights) {
  const side = 280, canvas = element("canvas", {
    class: "pixels huge", width: side, height: side, tabindex: 0, role: "application",
    "aria-label": "Draw a digit. Arrow keys move the pen, Space lowers and lifts it, Delete clears.",
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const pen = { x: side / 2, y: side / 2, down: false };
  const framed = picture("the drawing in MNIST's frame", "large"), status = element("p", { class: "hint", role: "status" });
  const steps = element("p", { class: "measured" }), cut = element("div", { class: "cut" });
  const networks = answers(live, weights);

  function clear() {
    cut.style.display = "none";
    steps.textContent = "";
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, side, side);
  }
  function line(x, y) {
    Object.assign(context, { lineWidth: 24, lineCap: "round", lineJoin: "round", strokeStyle: "#000000" });
    context.beginPath();
    context.moveTo(pen.x, pen.y);
    context.lineTo(x, y);
    context.stroke();
    Object.assign(pen, { x, y });
    read();
  }
  function read() {
    const pixels = context.getImageData(0, 0, side, side).data, ink = new Float32Array(side * side);
    for (let i = 0; i < ink.length; i++) ink[i] = 1 - pixels[4 * i] / 255;
    const found = frame(ink, side, side);
    if (!found) return;
    const { box, scaled } = found, share = (pixels) => `${(100 * pixels) / side}%`;
    Object.assign(cut.style, { display: "block", left: share(box.left), top: share(box.top), width: share(box.width), height: share(box.height) });
    steps.textContent = `Cut out: ${box.width}x${box.height} of ${side}x${side}. Scaled to ${scaled.width}x${scaled.height}, the ` +
      `longer side 20. Its center of mass in the middle: ${scaled.left} from the left, ${scaled.top} from the top.`;
    choose(found.image);
  }
  const placeOf = (event) => {
    const at = canvas.getBoundingClientRect();
    return [((event.clientX - at.left) / at.width) * side, ((event.clientY - at.top) / at.height) * side];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [pen.x, pen.y] = placeOf(event);
    pen.drawing = true;
    line(pen.x, pen.y);
  });
  canvas.addEventListener("pointermove", (event) => pen.drawing && line(...placeOf(event)));
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (pen.drawing = false));
  canvas.addEventListener("keydown", (event) => {
    const ways = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }, way = ways[event.key];
    if (way) {
      const [x, y] = [pen.x + way[0], pen.y + way[1]].map((place) => Math.min(side - 12, Math.max(12, place)));
      pen.down ? line(x, y) : Object.assign(pen, { x, y });
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) line(pen.x, pen.y);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      pen.down = false;
      clear();
    } else return;
    event.preventDefault();  // the page stays where it is
    status.textContent = `Pen ${pen.down ? "down" : "up"} at ${Math.round(pen.x / 10)}, ${Math.round(pen.y / 10)} of 28.`;
  });
  clear();

  const tray = (which) => element("div", { class: "strip" }, ...live.tray.map((digit, i) => ({ digit, i })).filter(({ digit }) => digit.hard === which).map(({ digit }) => {
    const canvas = show(picture(""), digit.image);
    canvas.setAttribute("aria-hidden", "true");
    return element("button", { class: "tray", type: "button", "aria-label": `test digit ${digit.index}, labelled ${live.names[digit.label]}`, click: () => {
      clear();
      steps.textContent = `Test digit ${digit.index} of MNIST's kind, as it is; its label is ${live.names[digit.label]}.`;
      choose(digit.image);
    } }, canvas);
  }));
  const field = element("figure", {}, element("div", { class: "field" }, canvas, cut), element("figcaption", {}, element("button", { type: "button", click: clear }, "Clear"), " One digit, large."));
  const result = element("figure", {}, framed, element("figcaption", {}, "What the networks see: 28x28 pixels"), steps);
  page.listeners.push((image) => {
    show(framed, image);
    frameLines(framed);
    networks.tell(image);
  });
  const picks = [element("h3", {}, "Or take one that all networks read"), tray(false), element("h3", {}, "... or one on which they err or differ"), tray(true)];
  return element("div", { class: "ae-live" }, element("div", { class: "steps" }, field, result), status, ...picks, networks);
}

// The 20x20 box and the middle, by the corners of the pixels, faintly.
function frameLines(canvas) {
  const context = canvas.getContext("2d");
  context.fillStyle = "rgba(217, 95, 2, 0.55)";
  for (const [x, y] of [[4, 4], [23, 4], [4, 23], [23, 23]]) context.fillRect(x, y, 1, 1);
}

function spoiling(live, weights) {
  const before = picture("the digit as it is", "large"), after = picture("the digit, spoiled", "large"), networks = answers(live, weights);
  const strengths = {}, rows = [];
  let seed = 1;
  function update() {
    let image = page.image;
    Object.entries(CORRUPTIONS).forEach(([name, { of }], i) => {
      if (strengths[name]) image = of(image, strengths[name], dice(1000 * seed + i));
    });
    show(before, page.image);
    show(after, image);
    networks.tell(image);
  }
  for (const [name, { unit, most, step }] of Object.entries(CORRUPTIONS)) {
    rows.push(slider(`${name} (${unit})`, { min: 0, max: most, step, value: 0 }, (value) => {
      strengths[name] = value;
      update();
    }));
  }
  const buttons = [
    element("button", { type: "button", click: () => (seed++, update()) }, "Other dice"), " ",
    element("button", { type: "button", click: () => {
      for (const { input, say } of rows) (input.value = 0), say();
      Object.keys(strengths).forEach((name) => delete strengths[name]);
      update();
    } }, "Undo all"),
  ];
  page.listeners.push(update);
  const images = element("div", { class: "seen" }, before, after, element("p", { class: "said" }, ...buttons));
  return element("div", { class: "ae-live" }, element("div", { class: "beside" }, images, element("div", { class: "sliders" }, ...rows.map((one) => one.row))), networks);
}

function maps(live, weights) {
  const images = (i) => live.digits[i];
  const shared = { weights, labels: live.labels, images, names: live.names };
  const two = live.maps.map((map) => explorer({ ...shared, ...map, codes: null }));
  page.listeners.push((image) => two.forEach((map) => map.locate(image)));  // until the pointer moves the cross
  const many = explorer({ ...shared, ...live.flat });
  return element("div", { class: "ae-live" }, legend(live.names), element("div", { class: "two" }, ...two), many);
}

function walking(live, weights) {
  const { network, order, dimensions, figure } = live.sliders;
  const sliders = codeSliders((code) => compute(network.decoder, weights, code), order, dimensions, 12);
  page.listeners.push((image) => sliders.start(compute(network.code, weights, compute(network.trunk, weights, image))));
  const back = element("button", { type: "button", click: () => choose(page.image) }, "Back to the digit above");
  return element("div", { class: "ae-live" }, element("p", { class: "measured" }, figure), sliders, back);
}

function oracle(live) {
  const root = element("div", { class: "ae-live" });
  if (!live.oracle) {
    root.append(element("p", { class: "problem" }, "The ten images are training images of the report's data, which are not at hand here. In a terminal, run mnist-ae data, then mnist-ae live."));
    return root;
  }
  const { asked, counts, n_test: n, figure } = live.oracle, given = {}, result = element("p", { class: "result", role: "status" });
  const changed = element("p", { class: "hint" }), strip = element("div", { class: "strip" });
  function update() {
    const right = asked.reduce((sum, { label }) => sum + (given[label] === undefined ? 0 : counts[label][given[label]]), 0);
    const answered = Object.keys(given).length;
    result.textContent = answered ? `${((100 * right) / n).toFixed(2)}% of ${n.toLocaleString("en")} test digits right, with ${answered} of 10 answers.` : "No answer yet: nothing is named.";
    const wrong = live.of_student.map((label, i) => ({ label, i })).filter(({ label }) => given[label] !== undefined && given[label] !== label);
    changed.textContent = wrong.length ? `${wrong.length.toLocaleString("en")} of the ${live.labels.length.toLocaleString("en")} digits of the map are read otherwise than by the right answers; here are some, with their new names.` : "";
    strip.replaceChildren(...wrong.slice(0, 24).map(({ label, i }) => element("figure", {}, show(picture(`test digit, now read as ${live.names[given[label]]}`), live.digits[i]), element("figcaption", {}, live.names[given[label]]))));
  }
  const fields = asked.map(({ image, label }, k) => {
    const select = element("select", { "aria-label": `answer ${k + 1}`, change: () => {
      if (select.value === "") delete given[label];
      else given[label] = Number(select.value);
      update();
    } }, element("option", { value: "" }, "?"), ...live.names.map((name, i) => element("option", { value: i }, name)));
    return { select, label, field: element("label", {}, show(picture(`image ${k + 1} that was asked for`, "large"), image), select) };
  });
  const fill = (answer) => {
    for (const { select, label } of fields) {
      select.value = answer(label);
      select.dispatchEvent(new Event("change"));
    }
  };
  const buttons = element("p", {}, element("button", { type: "button", click: () => fill((label) => label) }, "Answer all rightly"), " ",
    element("button", { type: "button", click: () => fill(() => "") }, "Take all back"));
  root.append(element("p", { class: "measured" }, figure), element("div", { class: "oracle" }, ...fields.map((one) => one.field)), buttons, result, changed, strip);
  update();
  return root;
}

// An image out of a PNG that holds many, row by row, as a function from an index.
async function digitsOf(png) {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = element("canvas", { width: image.width, height: image.height }), context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height), columns = image.width / 28;
  return (i) => {
    const x0 = 28 * (i % columns), y0 = 28 * Math.floor(i / columns), digit = new Float32Array(784);
    for (let at = 0; at < 784; at++) digit[at] = data[4 * ((y0 + Math.floor(at / 28)) * image.width + x0 + (at % 28))] / 255;
    return digit;
  };
}

// Bytes that zlib compressed, as they were.
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function start() {
  const places = document.querySelectorAll("[data-live]");
  try {
    const live = window.LIVE;
    if (!live) throw new Error("live-data.js, which holds the networks, is missing or damaged");
    const weights = halfFloats(await inflated(bytesOf(live.weights)).catch(() => []));
    if (weights.length !== live.n_weights) throw new Error("live-data.js, which holds the networks, is damaged");
    const [tray, digits] = await Promise.all([digitsOf(live.tray_png), digitsOf(live.digits_png)]);
    live.tray.forEach((digit, i) => (digit.image = tray(i)));
    live.digits = live.labels.map((_, i) => digits(i));
    if (live.oracle) live.oracle.asked.forEach((one, i) => (one.image = tray(live.tray.length + i)));
    const codes = halfFloats(bytesOf(live.flat.codes)), n = codes.length / live.labels.length;
    live.flat.codes = live.labels.map((_, i) => codes.subarray(n * i, n * (i + 1)));
    page.listeners = [];
    const parts = { draw: drawing, spoil: spoiling, map: maps, sliders: walking, oracle };
    for (const place of places) place.replaceChildren(parts[place.dataset.live](live, weights));
    if (live.notice) places[0].prepend(element("div", { class: "ae-live" }, element("p", { class: "problem" }, live.notice)));
    choose(live.tray[0].image);
    window.LIVE_READY = performance.now();
  } catch (error) {
    const said = `The networks cannot be shown: ${error.message}. Run \`mnist-ae live\` to make this page anew.`;
    for (const place of places) place.replaceChildren(element("div", { class: "ae-live" }, element("p", { class: "problem" }, said)));
  }
}

start();
