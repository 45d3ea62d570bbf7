// Draws a photograph on its canvas, with a heat map of a label if there is one.

// From violet for 0 to yellow for 1, as in the service's own heat maps.
const COLOURS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const LARGEST = 1400;

function colour(value) {
  const place = Math.min(Math.max(value, 0), 1) * (COLOURS.length - 1);
  const below = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[below].map((part, channel) => part + (COLOURS[below + 1][channel] - part) * (place - below));
}

// `covers` and `covered_side`: the part of the photograph that the grid covers, as in the answer of /v1/explain.
export function draw(canvas, image, grid = null, { covers = "photograph", covered_side: share = 1 } = {}) {
  const scale = Math.min(1, LARGEST / Math.max(image.width, image.height));
  [canvas.width, canvas.height] = [Math.round(image.width * scale), Math.round(image.height * scale)];
  const context = canvas.getContext("2d");
  delete canvas.dataset.label;
  context.filter = grid ? "grayscale(1)" : "none";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  if (!grid) return;
  const map = new OffscreenCanvas(grid[0].length, grid.length);
  const pixels = new ImageData(map.width, map.height);
  grid.flat().forEach((value, index) => pixels.data.set([...colour(value), 40 + 160 * value], 4 * index));
  map.getContext("2d").putImageData(pixels, 0, 0);
  const side = share * Math.min(canvas.width, canvas.height);
  const [width, height] = covers === "photograph" ? [canvas.width, canvas.height] : [side, side];
  context.imageSmoothingQuality = "high";
  context.drawImage(map, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
}
