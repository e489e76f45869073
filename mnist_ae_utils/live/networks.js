// The networks of a report, computed one image at a time. Plain JavaScript without dependencies: what a browser needs
// for the page, and a notebook for the widget. A layer's weights are places in one array of numbers; batch norm and
// standardization are folded into the layers before or after them by export.py, which writes this format.

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

// IEEE half-precision floats as numbers. Of the bytes, the lower ones come first, all of them, then the higher ones.
function halfFloats(bytes) {
  const n = bytes.length >> 1, numbers = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const bits = bytes[i] | (bytes[n + i] << 8);
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14;
    numbers[i] = bits & 0x8000 ? -size : size;
  }
  return numbers;
}

const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0),
  leaky_relu: (x, slope) => (x > 0 ? x : slope * x),
  elu: (x, slope) => (x > 0 ? x : slope * Math.expm1(x)),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

// Abramowitz and Stegun (1964), formula 7.1.26: to 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

const LAYERS = {
  linear(layer, weights, input) {
    const { inputs, outputs, weight, bias } = layer, output = weights.slice(bias, bias + outputs);
    for (let o = 0, at = weight; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += weights[at++] * input[i];
      output[o] += sum;
    }
    return output;
  },

  // Weights (outputs, inputs, kernel, kernel), as torch has them.
  conv(layer, weights, input) {
    const { inputs, outputs, kernel, stride, padding, size, weight, bias } = layer;
    const side = Math.floor((size + 2 * padding - kernel) / stride) + 1, output = new Float32Array(outputs * side * side);
    for (let o = 0; o < outputs; o++) output.fill(weights[bias + o], o * side * side, (o + 1) * side * side);
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) {
        for (let ky = 0; ky < kernel; ky++) {
          for (let kx = 0; kx < kernel; kx++) {
            const w = weights[weight + ((o * inputs + i) * kernel + ky) * kernel + kx];
            for (let y = 0; y < side; y++) {
              const row = y * stride + ky - padding;
              if (row < 0 || row >= size) continue;
              const from = (i * size + row) * size + kx - padding, to = (o * side + y) * side;
              const first = Math.max(0, Math.ceil((padding - kx) / stride));
              const last = Math.min(side - 1, Math.floor((size - 1 + padding - kx) / stride));
              for (let x = first; x <= last; x++) output[to + x] += w * input[from + x * stride];
            }
          }
        }
      }
    }
    return output;
  },

  // Weights (inputs, outputs, kernel, kernel): each input is spread over the outputs around it.
  conv_transposed(layer, weights, input) {
    const { inputs, outputs, kernel, stride, padding, size, weight, bias } = layer;
    const side = (size - 1) * stride - 2 * padding + kernel, output = new Float32Array(outputs * side * side);
    for (let o = 0; o < outputs; o++) output.fill(weights[bias + o], o * side * side, (o + 1) * side * side);
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        for (let ky = 0; ky < kernel; ky++) {
          for (let kx = 0; kx < kernel; kx++) {
            const w = weights[weight + ((i * outputs + o) * kernel + ky) * kernel + kx];
            for (let y = 0; y < size; y++) {
              const row = y * stride + ky - padding;
              if (row < 0 || row >= side) continue;
              const from = (i * size + y) * size, to = (o * side + row) * side + kx - padding;
              const first = Math.max(0, Math.ceil((padding - kx) / stride));
              const last = Math.min(size - 1, Math.floor((side - 1 + padding - kx) / stride));
              for (let x = first; x <= last; x++) output[to + x * stride] += w * input[from + x];
            }
          }
        }
      }
    }
    return output;
  },

  // The largest of each 2x2; of an odd side, the last row and column are left out.
  max_pool(layer, weights, input) {
    const { inputs, size } = layer, side = size >> 1, output = new Float32Array(inputs * side * side);
    for (let c = 0, at = 0; c < inputs; c++) {
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++) {
          const i = (c * size + 2 * y) * size + 2 * x;
          output[at++] = Math.max(input[i], input[i + 1], input[i + size], input[i + size + 1]);
        }
      }
    }
    return output;
  },

  activation(layer, weights, input) {
    return input.map((x) => ACTIVATIONS[layer.of](x, layer.slope));
  },
};

// What some layers make of an input: a Float32Array, an image row by row.
function compute(layers, weights, input) {
  return layers.reduce((values, layer) => LAYERS[layer.kind](layer, weights, values), Float32Array.from(input));
}

function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (x) => Math.exp(x - most));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((x) => x / sum);
}

// Everything that a network says of an image (784 numbers in [0, 1]): what it has of probabilities of the ten classes,
// code and reconstruction.
function ask(network, weights, image) {
  const answer = {}, before = compute(network.trunk, weights, image);
  if (network.classifier) answer.probabilities = softmax(compute(network.classifier, weights, before));
  if (network.decoder) {
    answer.code = compute(network.code, weights, before);
    answer.drawn = compute(network.decoder, weights, answer.code);
    answer.error = answer.drawn.reduce((sum, pixel, i) => sum + (pixel - image[i]) ** 2, 0);
  }
  return answer;
}
