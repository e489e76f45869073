// Make what is on each slide fit its box, then start reveal.js. A slide that is too full gets smaller letters; a table
// that is still too long goes on below, on a slide of its own.
(() => {
  const LARGEST = 38; // pixels, on a slide with nothing but text
  const USUAL = 32;
  const SMALLEST = 20;
  const SMALLEST_OF_TABLE = 25;

  // Whether anything lies beyond the padding of a slide, or scrolls.
  function tooFull(slide) {
    const { paddingBottom } = getComputedStyle(slide);
    const bottom = slide.getBoundingClientRect().bottom - parseFloat(paddingBottom) + 0.5;
    return [...slide.children].some(
      (part) => part.getBoundingClientRect().bottom > bottom || part.scrollWidth > part.clientWidth,
    );
  }

  function shrink(slide, size, smallest) {
    do {
      slide.style.fontSize = `${size}px`;
      size -= 0.5;
    } while (size >= smallest && tooFull(slide));
  }

  // What of a slide's table has no room goes onto a slide below with nothing else on it.
  function breakTable(slide, body) {
    const next = slide.cloneNode(true);
    const rest = next.querySelector(":scope > :not(aside) tbody");
    rest.replaceChildren();
    while (tooFull(slide) && body.rows.length > 1) {
      rest.prepend(body.lastElementChild);
    }
    const part = [...next.children].find((child) => child.contains(rest));
    part.replaceChildren(rest.parentElement);
    next.replaceChildren(next.firstElementChild, part);
    next.className = "goes-on";
    slide.after(next);
    fit(next);
  }

  function fit(slide) {
    const body = slide.querySelector(":scope > :not(aside) tbody");
    const largest = slide.querySelector(":scope > .figure, :scope > pre") || body ? USUAL : LARGEST;
    shrink(slide, largest, body ? SMALLEST_OF_TABLE : SMALLEST);
    if (body && tooFull(slide) && body.rows.length > 1) {
      breakTable(slide, body);
    }
  }

  Promise.allSettled([...document.fonts].map((font) => font.load())).then(() => {
    document.querySelectorAll(".slides > section > section").forEach(fit);
    Reveal.initialize({
      width: 1280, height: 720, margin: 0, minScale: 0.1, maxScale: 4, center: false, display: "flex",
      hash: true, slideNumber: "c/t", controls: false, transition: "none", pdfSeparateFragments: false,
      plugins: [RevealNotes],
    });
  });
})();
