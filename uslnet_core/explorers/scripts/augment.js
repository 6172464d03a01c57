// Random views of an image, as `uslnet_core.contrastive.views` makes them: crop, flips, colours, grey, blur.
// A picture is {data: Float32Array of height × width × 3 in [0, 1], side}.

const GREY = [0.299, 0.587, 0.114];

/** A stream of numbers in [0, 1) from a seed (mulberry32). */
export function stream(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Draw a view's amounts from a recipe: {crop_area, brightness, contrast, saturation, hue, jitter, grey, blur}. */
export function drawAmounts(recipe, random) {
  const between = (low, high) => low + (high - low) * random();
  const share = between(...recipe.crop_area);
  const ratio = Math.exp(between(Math.log(3 / 4), Math.log(4 / 3)));
  const width = Math.min(1, Math.sqrt(share * ratio));
  const height = Math.min(1, Math.sqrt(share / ratio));
  const x = between(-1, 1) * (1 - width);
  const y = between(-1, 1) * (1 - height);
  const [flipX, flipY] = [random() < 0.5, random() < 0.5];
  const active = random() < recipe.jitter ? 1 : 0;
  const factor = (amount) => 1 + between(-amount, amount) * active;
  return {
    width, height, x, y, flipX, flipY,
    brightness: factor(recipe.brightness), contrast: factor(recipe.contrast), saturation: factor(recipe.saturation),
    turn: 2 * Math.PI * between(-recipe.hue, recipe.hue) * active,
    grey: random() < recipe.grey,
    blur: random() < recipe.blur ? between(0.1, 2) : 0, // pixels of an image of 224
  };
}

const clamp = (value) => Math.min(1, Math.max(0, value));
/** A place outside comes back in, mirrored at the border. */
function reflected(at, side) {
  const folded = Math.abs((at + 0.5) % (2 * side));
  return Math.min(side - 1, Math.max(0, (folded > side ? 2 * side - folded : folded) - 0.5));
}

/** Cut the rectangle out, flip it, and bring it to `size` pixels a side, between pixels by two lines. */
export function crop(picture, amounts, size) {
  const { data, side } = picture;
  const out = new Float32Array(size * size * 3);
  const along = (k, length, centre, flip) => {
    const place = ((2 * k + 1) / size - 1) * length * (flip ? -1 : 1) + centre; // −1 to 1
    return reflected(((place + 1) * side - 1) / 2, side);
  };
  for (let v = 0; v < size; v++) {
    const y = along(v, amounts.height, amounts.y, amounts.flipY);
    const top = Math.floor(y);
    const bottom = Math.min(side - 1, top + 1);
    for (let u = 0; u < size; u++) {
      const x = along(u, amounts.width, amounts.x, amounts.flipX);
      const left = Math.floor(x);
      const right = Math.min(side - 1, left + 1);
      for (let c = 0; c < 3; c++) {
        const value = (row, column) => data[3 * (row * side + column) + c];
        const above = value(top, left) + (x - left) * (value(top, right) - value(top, left));
        const below = value(bottom, left) + (x - left) * (value(bottom, right) - value(bottom, left));
        out[3 * (v * size + u) + c] = above + (y - top) * (below - above);
      }
    }
  }
  return { data: out, side: size };
}

/** Brightness, contrast around the mean grey, saturation around each pixel's grey, and a turn of the colours. */
export function recolour(picture, amounts) {
  const bright = picture.data.map((value) => clamp(value * amounts.brightness));
  let mean = 0;
  for (let k = 0; k < bright.length; k++) mean += bright[k] * GREY[k % 3];
  mean /= bright.length / 3;
  const [cos, sin] = [Math.cos(amounts.turn), Math.sin(amounts.turn) / Math.sqrt(3)];
  const skew = [[0, -1, 1], [1, 0, -1], [-1, 1, 0]];
  const turn = skew.map((row, i) => row.map((value, j) => cos * (i === j) + (1 - cos) / 3 + sin * value));
  const s = amounts.saturation;
  const fade = [0, 1, 2].map((i) => [0, 1, 2].map((j) => s * (i === j) + (1 - s) * GREY[j]));
  const both = turn.map((row) => [0, 1, 2].map((j) => row.reduce((sum, value, k) => sum + value * fade[k][j], 0)));
  const out = new Float32Array(bright.length);
  for (let at = 0; at < out.length; at += 3) {
    const rgb = [0, 1, 2].map((c) => mean + (bright[at + c] - mean) * amounts.contrast);
    both.forEach((row, c) => { out[at + c] = clamp(row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2]); });
  }
  return { data: out, side: picture.side };
}

/** All three channels the same. */
export function grey(picture) {
  const out = new Float32Array(picture.data.length);
  for (let at = 0; at < out.length; at += 3) {
    out.fill(GREY.reduce((sum, weight, c) => sum + weight * picture.data[at + c], 0), at, at + 3);
  }
  return { data: out, side: picture.side };
}

/** A Gaussian in two passes; `width` is its standard deviation in pixels of an image of 224. */
export function blur(picture, width) {
  const { side } = picture;
  const sigma = width * side / 224;
  const reach = Math.max(1, Math.ceil(6 * side / 224));
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-0.5 * ((k - reach) / sigma) ** 2));
  const total = kernel.reduce((sum, weight) => sum + weight, 0);
  const mirrored = (at) => { const inside = Math.abs(at); return inside < side ? inside : 2 * (side - 1) - inside; };
  let from = picture.data;
  for (const [row, column] of [[0, 1], [1, 0]]) {
    const out = new Float32Array(from.length);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        for (let k = -reach; k <= reach; k++) {
          const at = 3 * (mirrored(y + k * row) * side + mirrored(x + k * column));
          const weight = kernel[k + reach] / total;
          for (let c = 0; c < 3; c++) out[3 * (y * side + x) + c] += weight * from[at + c];
        }
      }
    }
    from = out;
  }
  return { data: from.map(clamp), side };
}

/** A whole view. */
export function view(picture, amounts, size) {
  let out = recolour(crop(picture, amounts, size), amounts);
  if (amounts.grey) out = grey(out);
  return amounts.blur ? blur(out, amounts.blur) : out;
}
