// The widget of `live.explore` in a notebook: anywidget calls `render`.

function render({ model, el }) {
  const content = model.get("content"), weights = halfFloats(bytesOf(content.weights)), decode = (code) => compute(content.network.decoder, weights, code);
  const bytes = bytesOf(content.images);
  const images = (i) => Float32Array.from(bytes.subarray(784 * i, 784 * (i + 1)), (x) => x / 255);
  const two = content.codes[0].length === 2;
  const root = element("div", { class: "ae-live" });
  root.append(explorer({
    network: content.network, weights, points: content.points, codes: two ? null : content.codes, labels: content.labels,
    images, names: content.names, title: two ? "Map of all codes" : "Map of the codes (UMAP)",
  }), legend(content.names));
  if (!two) {
    const sliders = codeSliders(decode, content.order, content.dimensions, 12);
    sliders.start(content.codes[0]);
    root.append(element("h3", {}, "Sliders along the code"), sliders);
  }
  el.replaceChildren(root);
}

export default { render };
