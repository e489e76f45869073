// A drawing put into MNIST's frame, and the corruptions of chapter 7: as pictures.frame and corruptions.py do it.
// An image is a Float32Array of 784 pixels in [0, 1], row by row, 1 for ink.

// What becomes of a drawing: {image, box, scaled, center}, or null if nothing is drawn. `ink` are its pixels in [0, 1],
// (height, width). As MNIST's digits were made: cropped, scaled so that the longer side has 20 pixels, and placed with
// the center of mass in the middle of 28x28.
function frame(ink, width, height) {
  let left = width, right = -1, top = height, bottom = -1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] > 0.1) {
        left = Math.min(left, x), right = Math.max(right, x), top = Math.min(top, y), bottom = Math.max(bottom, y);
      }
    }
  }
  if (right < 0) return null;
  const box = { left, top, width: right - left + 1, height: bottom - top + 1 }, longer = Math.max(box.width, box.height);
  const w = Math.max(1, Math.round((20 * box.width) / longer)), h = Math.max(1, Math.round((20 * box.height) / longer));
  const cropped = new Float32Array(box.width * box.height);
  for (let y = 0; y < box.height; y++) {
    for (let x = 0; x < box.width; x++) cropped[y * box.width + x] = ink[(top + y) * width + left + x];
  }
  const small = transpose(resizeRows(transpose(resizeRows(cropped, box.width, box.height, w), w, box.height), box.height, w, h), h, w);
  let sum = 0, x0 = 0, y0 = 0, most = 0;
  for (let y = 0, i = 0; y < h; y++) {
    for (let x = 0; x < w; x++, i++) {
      sum += small[i], x0 += x * small[i], y0 += y * small[i], most = Math.max(most, small[i]);
    }
  }
  const place = (center, side) => Math.min(28 - side, Math.max(0, Math.floor(14.5 - center)));
  const right0 = place(x0 / sum, w), down0 = place(y0 / sum, h), image = new Float32Array(784);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) image[(down0 + y) * 28 + right0 + x] = small[y * w + x] / most;
  }
  return { image, box, scaled: { left: right0, top: down0, width: w, height: h } };
}

// Each row of an image (height, width), resized to a new width without aliasing: a triangle, as wide as what one new
// pixel covers, is moved along. This is torch's interpolate(mode="bilinear", antialias=True).
function resizeRows(image, width, height, newWidth) {
  const ratio = width / newWidth, reach = Math.max(1, ratio), resized = new Float32Array(newWidth * height);
  for (let x = 0; x < newWidth; x++) {
    const center = (x + 0.5) * ratio, first = Math.max(0, Math.trunc(center - reach + 0.5));
    const last = Math.min(width, Math.trunc(center + reach + 0.5)), parts = [];
    for (let i = first; i < last; i++) parts.push(Math.max(0, 1 - Math.abs(i - center + 0.5) / reach));
    const whole = parts.reduce((a, b) => a + b);
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let i = first; i < last; i++) sum += parts[i - first] * image[y * width + i];
      resized[y * newWidth + x] = sum / whole;
    }
  }
  return resized;
}

// An image (height, width) as (width, height).
function transpose(image, width, height) {
  const turned = new Float32Array(image.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) turned[x * height + y] = image[y * width + x];
  }
  return turned;
}

// Numbers in [0, 1) that are the same for the same seed (mulberry32, public domain).
function dice(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const clamp = (x) => Math.min(1, Math.max(0, x));

// By the names of chapter 7: what each does, how far its slider goes, and the function of (image, strength, random).
const CORRUPTIONS = {
  noise: { unit: "standard deviation", most: 0.8, step: 0.02, of(image, std, random) {
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return image.map((x) => clamp(x + std * normal()));
  } },
  "salt and pepper": { unit: "share of the pixels", most: 0.6, step: 0.02, of(image, share, random) {
    return image.map((x) => {
      const drawn = random();
      return drawn < share / 2 ? 0 : drawn >= 1 - share / 2 ? 1 : x;
    });
  } },
  blur: { unit: "pixels", most: 3, step: 0.1, of(image, std) {
    const reach = Math.ceil(3 * std), kernel = [];
    for (let i = -reach; i <= reach; i++) kernel.push(Math.exp(-0.5 * (i / std) ** 2));
    const whole = kernel.reduce((a, b) => a + b), mirrored = (i) => (i < 0 ? -i : i > 27 ? 54 - i : i);
    const across = (from, index) => from.map((_, at) => {
      const row = Math.floor(at / 28), column = at % 28;
      return kernel.reduce((sum, part, k) => sum + part * from[index(row, column, k - reach)], 0) / whole;
    });
    const rows = across(image, (row, column, k) => row * 28 + mirrored(column + k));
    return across(rows, (row, column, k) => mirrored(row + k) * 28 + column).map(clamp);
  } },
  "erased square": { unit: "pixels", most: 16, step: 1, of(image, side, random) {
    const top = Math.floor(random() * (29 - side)), left = Math.floor(random() * (29 - side));
    const inside = (i, first) => i >= first && i < first + side;
    return image.map((x, at) => (inside(Math.floor(at / 28), top) && inside(at % 28, left) ? 0 : x));
  } },
  "missing rows": { unit: "of 28", most: 14, step: 1, of(image, n, random) {
    const drawn = Array.from({ length: 28 }, random), gone = drawn.map((_, i) => i).sort((a, b) => drawn[a] - drawn[b]);
    const missing = new Set(gone.slice(0, n));
    return image.map((x, at) => (missing.has(Math.floor(at / 28)) ? 0 : x));
  } },
  shift: { unit: "pixels", most: 10, step: 0.5, of(image, pixels, random) {
    const [right, down] = [[1, 0], [-1, 0], [0, 1], [0, -1]][Math.floor(4 * random())];
    return resample(image, (x, y) => [x - pixels * right, y - pixels * down]);
  } },
  rotation: { unit: "degrees", most: 90, step: 1, of(image, degrees, random) {
    const angle = ((random() < 0.5 ? -1 : 1) * degrees * Math.PI) / 180, cos = Math.cos(angle), sin = Math.sin(angle);
    return resample(image, (x, y) => [cos * x + sin * y, cos * y - sin * x]);
  } },
  "lost contrast": { unit: "share", most: 1, step: 0.02, of(image, loss) {
    const mean = image.reduce((a, b) => a + b) / 784;
    return image.map((x) => x + loss * (mean - x));
  } },
};

// An image read where `from` says, by a pixel's place from the middle; between pixels, a mean of the four around.
function resample(image, from) {
  return image.map((_, at) => {
    const [x, y] = from((at % 28) - 13.5, Math.floor(at / 28) - 13.5).map((place) => place + 13.5);
    const left = Math.floor(x), top = Math.floor(y);
    let sum = 0;
    for (const [row, of_row] of [[top, top + 1 - y], [top + 1, y - top]]) {
      for (const [column, of_column] of [[left, left + 1 - x], [left + 1, x - left]]) {
        if (row >= 0 && row < 28 && column >= 0 && column < 28) sum += of_row * of_column * image[row * 28 + column];
      }
    }
    return clamp(sum);
  });
}
