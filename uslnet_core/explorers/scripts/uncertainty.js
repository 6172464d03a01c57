// The uncertainty module in the page: what `uslnet_core.uncertainty` says of one map, to the last pixel.
// A map is a Float32Array of height × width values in [0, 1], row by row.

/** The exact sum of some numbers, rounded once (Shewchuk 1997), as Python's math.fsum gives it. */
function exactSum(values) {
  const partials = [];
  for (let x of values) {
    let kept = 0;
    for (let y of partials) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low) partials[kept++] = low;
      x = high;
    }
    partials.length = kept;
    partials.push(x);
  }
  let n = partials.length;
  if (!n) return 0;
  let high = partials[--n];
  let low = 0;
  while (n > 0) {
    const x = high;
    const y = partials[--n];
    high = x + y;
    low = y - (high - x);
    if (low) break;
  }
  // A half that was rounded to even, with more below it of the same sign, goes the other way.
  if (n > 0 && ((low < 0 && partials[n - 1] < 0) || (low > 0 && partials[n - 1] > 0))) {
    const twice = low * 2;
    const x = high + twice;
    if (twice === x - high) high = x;
  }
  return high;
}

/** Python's round: halves go to the even number. */
function roundHalfEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  if (rest !== 0.5) return Math.round(x);
  return below % 2 === 0 ? below : below + 1;
}

/** Connected components above a threshold: {labels: Int32Array, -1 where none; pixels: of each, in raster order}. */
function components(map, height, width, high, neighbours) {
  const labels = new Int32Array(map.length).fill(-1);
  const pixels = [];
  const stack = [];
  for (let start = 0; start < map.length; start++) {
    if (!(map[start] > high) || labels[start] >= 0) continue;
    const label = pixels.length;
    const own = [];
    labels[start] = label;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      own.push(at);
      const y = Math.floor(at / width);
      const x = at % width;
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          if ((neighbours === 4 && dy && dx) || (!dy && !dx)) continue;
          const v = y + dy;
          const u = x + dx;
          if (v < 0 || u < 0 || v >= height || u >= width) continue;
          const next = v * width + u;
          if (map[next] > high && labels[next] < 0) {
            labels[next] = label;
            stack.push(next);
          }
        }
      }
    }
    pixels.push(own);
  }
  return { labels, pixels };
}

/**
 * Split a map into background (0), uncertain (1) and foreground (2).
 *
 * rules: {low, high, minArea (share), neighbours (4 or 8), rule ("mean", "sum" or "relative"), exclusion (share)}.
 * Returns {label: Uint8Array, keep, reason, regions: [{area, y, x, distance, score, reason, pixels}], chosen}.
 */
export function split(map, height, width, rules) {
  const low = Math.fround(rules.low);
  const high = Math.fround(rules.high);
  const { pixels } = components(map, height, width, high, rules.neighbours);
  const least = roundHalfEven(rules.minArea * height * width);
  const regions = pixels.map((own) => {
    const distances = own.map((at) => {
      const dy = Math.floor(at / width) - height / 2;
      const dx = (at % width) - width / 2;
      return Math.sqrt(dy * dy + dx * dx);
    });
    const sum = exactSum(distances);
    const distance = sum / own.length;
    const score = { mean: distance, sum, relative: distance / Math.sqrt(own.length) }[rules.rule];
    let y = 0;
    let x = 0;
    for (const at of own) {
      y += Math.floor(at / width);
      x += at % width;
    }
    const reason = own.length < least ? "too small" : "less central";
    return { area: own.length, y: y / own.length, x: x / own.length, distance, score, reason, pixels: own };
  });
  let chosen = -1;
  regions.forEach((region, k) => {
    if (region.reason !== "too small" && (chosen < 0 || region.score < regions[chosen].score)) chosen = k;
  });
  const label = new Uint8Array(map.length);
  for (let at = 0; at < map.length; at++) label[at] = map[at] >= low ? 1 : 0;
  let reason = "no component left";
  if (chosen >= 0) {
    const region = regions[chosen];
    region.reason = "chosen";
    for (const at of region.pixels) label[at] = 2;
    const dy = region.y - height / 2;
    const dx = region.x - width / 2;
    const far = Math.sqrt(dy * dy + dx * dx) > Math.min(height, width) * rules.exclusion;
    reason = far ? "too far from the centre" : "kept";
  }
  return { label, keep: reason === "kept", reason, regions, chosen };
}
