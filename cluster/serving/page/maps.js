// Where the memory was read: a refinement's attention over its picture. Where a word is not read, the picture is veiled.

const VEIL = 0.86; // of full cover, where a word is read least

export class AttentionMap {
  /** `refinement` is the API's: `attention`, T maps of h×w below one another in a grey PNG, and their `size`. */
  constructor(refinement) {
    [this.height, this.width] = refinement.size;
    this.canvas = document.createElement('canvas');
    this.canvas.width = this.width;
    this.canvas.height = this.height;
    this.loaded = this.load(`data:image/png;base64,${refinement.attention}`);
    this.wanted = -1;
  }

  async load(source) {
    const strip = new Image();
    strip.src = source;
    await strip.decode();
    const whole = document.createElement('canvas');
    whole.width = strip.naturalWidth;
    whole.height = strip.naturalHeight;
    const context = whole.getContext('2d', { willReadFrequently: true });
    context.drawImage(strip, 0, 0);
    this.pixels = context.getImageData(0, 0, whole.width, whole.height).data;
  }

  /** Veil what is not read from the word at `index`; -1 shows the picture as it is. */
  async show(index) {
    this.wanted = index;
    await this.loaded;
    if (this.wanted !== index) return; // another word meanwhile
    if (index >= 0) this.paint(index);
    this.canvas.classList.toggle('shown', index >= 0);
  }

  paint(index) {
    const context = this.canvas.getContext('2d'), veil = context.createImageData(this.width, this.height);
    const count = this.width * this.height, start = index * count;
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    let most = 1;
    for (let i = 0; i < count; i++) most = Math.max(most, this.pixels[4 * (start + i)]);
    for (let i = 0; i < count; i++) {
      const read = this.pixels[4 * (start + i)] / most;
      veil.data.set(dark ? [18, 21, 24] : [250, 248, 244], 4 * i);
      veil.data[4 * i + 3] = 255 * VEIL * (1 - read);
    }
    context.putImageData(veil, 0, 0);
  }
}
