// The page "Try it": colours a picture in the reader's browser. The steps and their names are those of colorize_nb;
// tests/test_try_it.py holds the result against Python's, within two gray levels. A plane is {x, w, h}: a typed array
// of rows, their width and their number.

// ---- color.srgb: sRGB's curve (IEC 61966-2-1) and CIE Lab (CIE 15) under D65 (ASTM E308)
const PRIMARIES = [[.64, .33], [.30, .60], [.15, .06]], D65 = [.95047, 1, 1.08883]
const srgb2linear = c => c <= .04045 ? c/12.92 : ((c + .055)/1.055)**2.4
const linear2srgb = y => y <= .0031308 ? 12.92*y : 1.055*y**(1/2.4) - .055
const linear2l = y => y > (6/29)**3 ? 116*Math.cbrt(y) - 16 : y*(29/3)**3 // L* in [0,100] of luminance in [0,1]
const fInverse = f => f > 6/29 ? f*f*f : (f - 16/116)*3*(6/29)**2

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const det = a*(e*i - f*h) - b*(d*i - f*g) + c*(d*h - e*g)
  const adjugate = [[e*i - f*h, c*h - b*i, b*f - c*e], [f*g - d*i, a*i - c*g, c*d - a*f],
                    [d*h - e*g, b*g - a*h, a*e - b*d]]
  return adjugate.map(row => row.map(v => v/det))
}
const dot = (u, v) => u[0]*v[0] + u[1]*v[1] + u[2]*v[2]
const XYZ = [PRIMARIES.map(([x, y]) => x/y), [1, 1, 1], PRIMARIES.map(([x, y]) => (1 - x - y)/y)]
const WHITE = inverse(XYZ).map(row => dot(row, D65)) // how much of each primary makes white
const RGB_TO_XYZ = XYZ.map((row, i) => row.map((v, j) => v*WHITE[j]/D65[i])) // each row sums to 1
const XYZ_TO_RGB = Float64Array.from(inverse(RGB_TO_XYZ).flat())

// Light is kept in 16 bits, 65535 for white; these tables lead from there.
const table = (type, n, f) => type.from({length: n}, (_, i) => f(i))
const SHARES = RGB_TO_XYZ[1].map(share => table(Float64Array, 256, i => srgb2linear(i/255)*share*65535))
const SRGB8 = table(Uint8Array, 65536, i => Math.round(linear2srgb(i/65535)*255))
const L16 = table(Float32Array, 65536, i => linear2l(i/65535))
const L8 = table(Float32Array, 256, i => linear2l(srgb2linear(i/255)))

// ---- io.image: the luminance of a picture, and the gray plane that is as light
function readPicture({data, width, height}) { // an ImageData
  const n = width*height, luminance = new Uint16Array(n), gray = new Uint8Array(n), alpha = new Uint8Array(n)
  for (let i = 0, k = 0; i < n; i++, k += 4) {
    luminance[i] = Math.min(65535, SHARES[0][data[k]] + SHARES[1][data[k + 1]] + SHARES[2][data[k + 2]] + .5)
    gray[i] = SRGB8[luminance[i]]
    alpha[i] = data[k + 3]
  }
  return {w: width, h: height, luminance, gray, alpha}
}

// Pillow's `resize` with a triangle as its filter, along one axis: for each of `m` results, the first of the `n`
// values that it comes from and their weights. `extent` is what of the `n` values is taken.
function taps(n, m, extent) {
  const scale = extent/m, reach = Math.max(scale, 1), res = []
  for (let i = 0; i < m; i++) {
    const center = (i + .5)*scale, first = Math.max(0, Math.floor(center - reach + .5))
    const last = Math.min(n, Math.floor(center + reach + .5)), weights = []
    for (let j = first; j < last; j++) weights.push(Math.max(0, 1 - Math.abs((j + .5 - center)/reach)))
    const sum = weights.reduce((a, b) => a + b)
    res.push({first, weights: weights.map(v => v/sum)})
  }
  return res
}

function resize({x, w, h}, width, height, extent = [w, h]) { // bytes stay bytes, rounded after each of the two axes
  if (width === w && height === h && extent[0] === w && extent[1] === h) return {x, w, h}
  const round = x instanceof Uint8Array ? .5 : 0
  const wide = new x.constructor(width*h), res = new x.constructor(width*height)
  taps(w, width, extent[0]).forEach(({first, weights}, i) => {
    for (let row = 0; row < h; row++) {
      let sum = round
      for (let j = 0; j < weights.length; j++) sum += weights[j]*x[row*w + first + j]
      wide[row*width + i] = sum
    }
  })
  taps(h, height, extent[1]).forEach(({first, weights}, row) => {
    for (let i = 0; i < width; i++) {
      let sum = round
      for (let j = 0; j < weights.length; j++) sum += weights[j]*wide[(first + j)*width + i]
      res[row*width + i] = sum
    }
  })
  return {x: res, w: width, h: height}
}

function reduce({x, w, h}, fx, fy) { // means of fx by fy bytes, fewer at the right and at the bottom
  const width = Math.ceil(w/fx), height = Math.ceil(h/fy), res = new Uint8Array(width*height)
  for (let j = 0; j < height; j++) for (let i = 0; i < width; i++) {
    const right = Math.min(w, (i + 1)*fx), bottom = Math.min(h, (j + 1)*fy), n = (right - i*fx)*(bottom - j*fy)
    let sum = 0
    for (let r = j*fy; r < bottom; r++) for (let c = i*fx; c < right; c++) sum += x[r*w + c]
    res[j*width + i] = (sum + n/2)/n
  }
  return {x: res, w: width, h: height}
}

function small(picture, width, height) { // the lightness, L* in [0,100], at another size: Pillow's `reducing_gap=2`
  const {w, h, gray} = picture, [fx, fy] = [w/width/2, h/height/2].map(v => Math.floor(v) || 1)
  const {x} = resize(reduce({x: gray, w, h}, fx, fy), width, height, [w/fx, h/fy])
  return {x: Float32Array.from(x, v => L8[v]), w: width, h: height}
}

// ---- colorizer.core: at which shape the network sees a picture; about size^2 pixels, sides are multiples of 32
const roundEven = v => v % 1 === .5 ? 2*Math.round(v/2) : Math.round(v) // as Python's `round`

function workingShape(width, height, size) {
  const root = Math.min(Math.max(width/height, 1/4), 4)**.5
  return [size*root, size/root].map(s => Math.max(32, roundEven(s/32)*32))
}

// ---- colorizer.upsample: chroma along the edges of the lightness
const DAMPING = 4, FINE = 2**19 // squared L* units; pixels up to which chroma is worked out, beyond it is enlarged

function combine(f, p, q = p, r = p, s = p) { // `f` of the values at the same place of up to four planes
  const x = new Float32Array(p.x.length)
  for (let i = 0; i < x.length; i++) x[i] = f(p.x[i], q.x[i], r.x[i], s.x[i])
  return {x, w: p.w, h: p.h}
}

function windowMean({x, w, h}, r) { // over windows of 2r + 1 pixels a side, as far as they lie inside
  const along = (x, count, n, stride, step) => { // `count` lines of `n` values, `step` apart
    const res = new Float64Array(x.length), sums = new Float64Array(n + 1)
    for (let line = 0; line < count; line++) {
      for (let i = 0; i < n; i++) sums[i + 1] = sums[i] + x[line*stride + i*step]
      for (let i = 0; i < n; i++) {
        const first = Math.max(i - r, 0), last = Math.min(i + r + 1, n)
        res[line*stride + i*step] = (sums[last] - sums[first])/(last - first)
      }
    }
    return res
  }
  return {x: Float32Array.from(along(along(x, w, h, 1, w), h, w, w, 1)), w, h}
}

function guidedUpsample(picture, maps) { // maps: planes a and b of a small size; planes of at most FINE pixels
  const {w, h} = maps[0], n = Math.min(4, Math.max(1, Math.round((2**17/(h*w))**.5)))
  const shrink = Math.min(1, (FINE/(picture.w*picture.h))**.5)
  const [width, height] = [picture.w, picture.h].map(v => Math.max(1, Math.round(v*shrink)))
  const l = small(picture, w*n, h*n), fineL = small(picture, width, height)
  const mean = windowMean(l, n), square = windowMean(combine(l => l*l, l), n)
  return maps.map(map => { // chroma is explained by lines: A times the lightness, and B
    const ab = resize(map, w*n, h*n), abMean = windowMean(ab, n)
    const product = windowMean(combine((l, ab) => l*ab, l, ab), n)
    const a = combine((p, m, s, c) => (p - m*c)/(s - m*m + DAMPING), product, mean, square, abMean)
    const b = combine((a, m, c) => c - a*m, a, mean, abMean)
    const [A, B] = [a, b].map(o => resize(windowMean(o, n), width, height))
    const fine = combine((a, l, b) => a*l + b, A, fineL, B)
    // back-projection: made small again, it is what came in
    return combine((f, d) => f + d, fine, resize(combine((m, f) => m - f, map, resize(fine, w, h)), width, height))
  })
}

const light = new Float64Array(3) // linear red, green and blue, of `lab2linear`
function lab2linear(l, a, b) {
  const y = (l + 16)/116, X = fInverse(y + a/500), Y = fInverse(y), Z = fInverse(y - b/200)
  for (let i = 0; i < 9; i += 3) light[i/3] = XYZ_TO_RGB[i]*X + XYZ_TO_RGB[i + 1]*Y + XYZ_TO_RGB[i + 2]*Z
}
const inGamut = eps => light[0] >= -eps && light[1] >= -eps && light[2] >= -eps
  && light[0] <= 1 + eps && light[1] <= 1 + eps && light[2] <= 1 + eps

function lab2srgb(l, a, b, out, at) { // chroma that cannot be shown shrinks; lightness and hue stay
  lab2linear(l, a, b)
  if (!inGamut(1e-4)) {
    let low = 0, high = 1
    for (let step = 0; step < 12; step++) {
      const middle = (low + high)/2
      lab2linear(l, a*middle, b*middle)
      if (inGamut(0)) low = middle
      else high = middle
    }
    lab2linear(l, a*low, b*low)
  }
  for (let i = 0; i < 3; i++) out[at + i] = SRGB8[Math.round(Math.min(Math.max(light[i], 0), 1)*65535)]
}

function mergeRows(picture, maps, times, top, bottom, out) { // `times` the chroma, rows `top` to `bottom`
  const {w, h, luminance, alpha} = picture, [map] = maps
  const columns = taps(map.w, w, map.w), rows = taps(map.h, h, map.h).slice(top, bottom)
  // maps are enlarged, so no more than two of their pixels count: one and a share of the next
  const left = Int32Array.from(columns, o => o.first), share = Float64Array.from(columns, o => o.weights[1] ?? 0)
  rows.forEach(({first, weights}, j) => {
    const [a, b] = maps.map(({x, w}) => { // a row of chroma as wide as the map, and a zero
      const line = new Float64Array(w + 1)
      weights.forEach((v, k) => { for (let i = 0; i < w; i++) line[i] += times*v*x[(first + k)*w + i] })
      return line
    })
    for (let i = 0, at = (top + j)*w; i < w; i++, at++) {
      const k = left[i], s = share[i]
      lab2srgb(L16[luminance[at]], a[k] + s*(a[k + 1] - a[k]), b[k] + s*(b[k + 1] - b[k]), out, 4*at)
      out[4*at + 3] = alpha[at]
    }
  })
}

// ---- color.grid: the 313 bins of Zhang et al. (2016), a row for each a, and the mean of a distribution over them
const ROWS = [ // a, first b, last b
  [-90, 50, 90], [-80, 20, 90], [-70, 0, 90], [-60, -20, 90], [-50, -30, 100], [-40, -40, 100], [-30, -50, 100],
  [-20, -50, 100], [-10, -60, 100], [0, -70, 100], [10, -80, 90], [20, -80, 90], [30, -90, 90], [40, -100, 90],
  [50, -100, 80], [60, -110, 80], [70, -110, 80], [80, -110, 70], [90, -110, 70], [100, -90, 0]]
const BINS = ROWS.flatMap(([a, first, last]) => table(Array, (last - first)/10 + 1, i => [a, first + 10*i]))

function meanColor(logits, n, T) { // chroma at `n` places: planes a and b, one behind the other
  const res = new Float32Array(2*n)
  for (let i = 0; i < n; i++) {
    let most = -Infinity, sum = 0, a = 0, b = 0
    for (let k = 0; k < BINS.length; k++) most = Math.max(most, logits[k*n + i])
    BINS.forEach((bin, k) => {
      const weight = Math.exp((logits[k*n + i] - most)/T)
      sum += weight
      a += weight*bin[0]
      b += weight*bin[1]
    })
    res[i] = a/sum
    res[n + i] = b/sum
  }
  return res
}

// ---- colorizer.engines: a packaged model in ONNX Runtime, fetched with the first picture that it colours
const HERE = new URL('.', import.meta.url), WEIGHTS = 'model.safetensors'
const engines = {} // a model's name -> a promise of it

async function loadEngine(name) {
  const ort = await import(new URL('ort.wasm.bundle.min.mjs', HERE))
  ort.env.wasm.wasmPaths = {wasm: new URL('ort-wasm-simd-threaded.wasm', HERE).href}
  ort.env.wasm.numThreads = 1 // several want headers that not every server sends
  const [meta, model, weights] = await Promise.all(['model.json', 'model.onnx', WEIGHTS].map(async file => {
    const answer = await fetch(new URL(`${name}/${file}`, HERE))
    if (!answer.ok) throw new Error(`${file}: ${answer.status}`)
    return file.endsWith('json') ? answer.json() : new Uint8Array(await answer.arrayBuffer())
  }))
  const externalData = [{path: WEIGHTS, data: weights}] // the graph says where in it its weights are
  return {ort, meta, session: await ort.InferenceSession.create(model, {externalData})}
}

function percentile(sorted, share) { // as NumPy's: linear between two values
  const at = share*(sorted.length - 1), i = Math.floor(at)
  return sorted[i] + (at - i)*((sorted[i + 1] ?? sorted[i]) - sorted[i])
}

function stretchContrast(l, least) { // colorizer.core: what a model for old photographs is shown of a faded one
  const sorted = Float32Array.from(l).sort(), low = percentile(sorted, .01), high = percentile(sorted, .99)
  if (high - low >= least) return l
  const times = Math.min(least/Math.max(high - low, 1e-6), 8), half = times*(high - low)/2
  const middle = Math.min(Math.max((low + high)/2, half), 100 - half)
  return l.map(v => Math.min(Math.max(middle + times*(v - (low + high)/2), 0), 100))
}

async function predictChroma(picture, model) { // planes a and b in Lab units, at the network's size
  const {ort, meta, session} = await engines[model]
  const l = small(picture, ...workingShape(picture.w, picture.h, meta.size))
  if (meta.contrast !== undefined) l.x = stretchContrast(l.x, meta.contrast)
  const tensor = (x, n) => new ort.Tensor('float32', x, [1, n, l.h, l.w])
  const {ab, logits} = await session.run({l: tensor(l.x.map(v => v/50 - 1), 1),
                                          hints: tensor(new Float32Array(3*l.h*l.w), 3)})
  const [h, w] = ab.dims.slice(2), {value, calm, full} = meta.vivid // the knob from calm to vivid
  const [share, T, times] = calm.map((v, i) => v + (full[i] - v)*value)
  const mean = share ? meanColor(logits.data, w*h, T) : ab.data
  const chroma = ab.data.map((v, i) => times*((1 - share)*110*v + share*mean[i]))
  return [0, 1].map(i => ({x: chroma.slice(i*w*h, (i + 1)*w*h), w, h}))
}

// ---- io.png: a text in a PNG, behind its header of 33 bytes (PNG 3rd edition, 11.3.3.2 and annex D)
const CRC = table(Uint32Array, 256, n => {
  for (let k = 0; k < 8; k++) n = n & 1 ? n >>> 1 ^ 0xedb88320 : n >>> 1
  return n
})

function withText(blob, keyword, text) {
  const body = new TextEncoder().encode(`tEXt${keyword}\0${text}`)
  const chunk = new DataView(new ArrayBuffer(body.length + 8))
  const crc = body.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ crc >>> 8, ~0)
  chunk.setUint32(0, body.length - 4) // without its type
  new Uint8Array(chunk.buffer).set(body, 4)
  chunk.setUint32(body.length + 4, ~crc >>> 0)
  return new Blob([blob.slice(0, 33), chunk, blob.slice(33)], {type: 'image/png'})
}

// ---- the page
const note = model => `The colours were computed by colorize_nb, model ${model}. They are plausible, not historical.`
const MOST = 16e6 // pixels: what every browser can show; larger pictures are made smaller
const $ = id => document.getElementById(id)
const pause = () => new Promise(done => setTimeout(done)) // so that the page can be used meanwhile
let shown, asked = 0, turn = 0 // the picture on the page; how many were asked for, how often it was coloured

function say(text) { $('status').textContent = text }

const sized = (canvas, width, height) => Object.assign(canvas, {width, height})

async function decode(blob) { // upright, and in sRGB: the browser sees to both
  const image = await createImageBitmap(blob).catch(() => {
    throw new Error('this browser cannot read it: try a JPEG, PNG or WebP')
  })
  const share = Math.min(1, (MOST/(image.width*image.height))**.5)
  const canvas = sized(document.createElement('canvas'), ...[image.width, image.height].map(v => Math.ceil(v*share)))
  const context = canvas.getContext('2d', {willReadFrequently: true})
  context.drawImage(image, 0, 0, canvas.width, canvas.height)
  image.close()
  return context.getImageData(0, 0, canvas.width, canvas.height)
}

function showGray({w, h, gray, alpha}) {
  const image = new ImageData(w, h)
  for (let i = 0; i < gray.length; i++) {
    for (let k = 0; k < 3; k++) image.data[4*i + k] = gray[i]
    image.data[4*i + 3] = alpha[i]
  }
  sized($('gray'), w, h).getContext('2d').putImageData(image, 0, 0)
}

async function showColors() { // a later call puts an end to this one
  const mine = ++turn, {picture, chroma} = shown, {w, h} = picture, image = new ImageData(w, h)
  const step = Math.max(1, Math.floor(2**20/w)), times = +$('strength').value
  $('stage').removeAttribute('data-done')
  for (let top = 0; top < h; top += step) {
    mergeRows(picture, chroma, times, top, Math.min(top + step, h), image.data)
    await pause()
    if (mine !== turn) return
  }
  sized($('colored'), w, h).getContext('2d').putImageData(image, 0, 0)
  $('stage').dataset.done = mine
}

async function colorize(blob, name) {
  const mine = ++asked, model = $('model').value, first = !engines[model]
  const size = Object.keys(engines).length ? 12 : 26 // MB, ONNX Runtime among them with the first model
  let start = performance.now()
  say(first ? `Fetching the model, once: ${size} MB ...` : 'Colouring ...')
  try {
    const data = await decode(blob)
    await (engines[model] ??= loadEngine(model)).catch(e => {
      delete engines[model]
      throw new Error(`the model could not be fetched (${e.message}): try again`)
    })
    if (first) start = performance.now()
    say('Colouring ...')
    await pause()
    const picture = readPicture(data), chroma = guidedUpsample(picture, await predictChroma(picture, model))
    if (mine !== asked) return // another picture or model was chosen meanwhile
    shown = {picture, chroma, model, blob, name}
    showGray(picture)
    $('stage').hidden = false
    await showColors()
    const seconds = ((performance.now() - start)/1000).toFixed(1)
    say(`${name}: ${picture.w} by ${picture.h} pixels, coloured in ${seconds} s. It has not left this computer.`)
  } catch (e) {
    if (mine === asked) say(`${name}: ${e.message}.`)
  }
}

function save() {
  $('colored').toBlob(blob => {
    const link = document.createElement('a')
    link.href = URL.createObjectURL(withText(blob, 'Description', note(shown.model)))
    link.download = `${shown.name.replace(/\.[^.]*$/, '')}-colorized.png`
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 1000)
  })
}

function start() {
  const take = files => { if (files[0]) colorize(files[0], files[0].name) }
  $('file').addEventListener('change', e => take(e.target.files))
  addEventListener('paste', e => take(e.clipboardData.files))
  addEventListener('dragover', e => e.preventDefault())
  addEventListener('drop', e => {
    e.preventDefault()
    take(e.dataTransfer.files)
  })
  for (const button of document.querySelectorAll('#try-it [data-picture]'))
    button.addEventListener('click', async () => {
      const address = button.dataset.picture
      colorize(await (await fetch(address)).blob(), address.split('/').pop())
    })
  $('model').addEventListener('change', () => { if (shown) colorize(shown.blob, shown.name) })
  $('strength').addEventListener('input', e => {
    $('strength-value').textContent = `${Math.round(e.target.value*100)} %`
    showColors()
  })
  $('save').addEventListener('click', save)
  $('try-it').dataset.ready = ''
}
start()
