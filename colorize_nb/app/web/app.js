// The page: pictures are sent, coloured previews come back, a person corrects them.
import {backToFrame, poll, saveFilm, showFilm, watchFilm} from './films.js'
import {text, language} from './texts.js'

export {$, ask, asJson, complain, current, fetchFile, keepFocus, lookOf, pathOf, render, rest, seeFrame, settled, tell}

const $ = id => document.getElementById(id)
let session = sessionStorage.getItem('colorize-nb') // of this tab: another one has another
let models = [], pictures = [], current = null
let selected = -1 // which hint's colours are open
let zoom = 1 // 1, 2, 4 or 8 times as large as the window has room for
let busy = false, again = false // a preview is on its way; another one is wanted
let failing = false // the last preview did, and the page says so
let cross = {x: .5, y: .5} // for the keyboard, shares of the picture
let uploads = [], uploading = false, sent = 0, total = 0
let points = [] // files of hints, for pictures that are on their way

// ---------------------------------------------------------------- the focus, which leaves what is disabled or hidden

const NEXT = {undo: 'redo', redo: 'undo', 'zoom-in': 'zoom-out', 'zoom-out': 'zoom-in', 'shot-before': 'frame-at',
              'shot-after': 'frame-at', 'film-stop': 'download'}

function keepFocus(show) { // `show` may disable or hide what has it: it goes on to the neighbour
  const at = document.activeElement
  show()
  if (NEXT[at?.id] && (at.disabled || !at.checkVisibility())) $(NEXT[at.id]).focus({preventScroll: true})
}

function rest(...ids) { // while something is made; what is returned wakes them
  const at = document.activeElement
  for (const id of ids) $(id).disabled = true
  return () => {
    for (const id of ids) $(id).disabled = false
    if (ids.includes(at?.id) && document.activeElement === document.body) at.focus({preventScroll: true})
  }
}

// ---------------------------------------------------------------- talking to the server

function tell(key, values) { $('status').textContent = key ? text(key, values) : '' }
function complain(message) { $('problem').textContent = message || '' }

async function ask(path, options = {}) {
  let reply
  try { reply = await fetch(path, options) }
  catch { throw new Error(text('offline')) }
  if (reply.ok) return reply
  let message
  try { message = (await reply.json()).error } catch { message = text('unexpected', {status: reply.status}) }
  throw Object.assign(new Error(message), {status: reply.status})
}

const asJson = (data, method = 'POST') =>
  ({method, headers: {'content-type': 'application/json'}, body: JSON.stringify(data)})
const pathOf = (p, what = '') => `s/${session}/pictures/${p.id}${what}`
const lookOf = (p, what, values = {}) => // of a film: at one of its frames
  `${pathOf(p, what)}?${new URLSearchParams(p.film ? {...values, frame: p.frame} : values)}`

async function begin() {
  session = (await (await ask('s', {method: 'POST'})).json()).session
  sessionStorage.setItem('colorize-nb', session)
}

// a tab that was duplicated has the other's session: it asks whether that one lives, and begins its own
async function otherTabHas(id) {
  const tabs = new BroadcastChannel('colorize-nb'), me = Math.random()
  let taken = false
  tabs.onmessage = ({data}) => {
    if (data.ask === session && data.ask) tabs.postMessage({taken: session, to: data.me})
    else if (data.to === me) taken = true
  }
  if (!id) return false
  tabs.postMessage({ask: id, me})
  await new Promise(done => setTimeout(done, 150))
  return taken
}

// ---------------------------------------------------------------- pictures

const modelOf = p => models.find(m => m.name === p.settings.model) || models[0]
const hex = rgb => '#' + rgb.map(v => v.toString(16).padStart(2, '0')).join('')
const rgbOf = h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16))

function element(name, attributes = {}, ...parts) {
  const e = document.createElement(name)
  for (const [k, v] of Object.entries(attributes)) if (v !== null) e.setAttribute(k, v)
  e.append(...parts)
  return e
}

function prepared(row) { return {...row, past: [], future: [], version: 0, url: null, frame: 0} }

function addRow(p) {
  const image = element('img', {alt: '', loading: 'lazy'})
  const state = element('span')
  const button = element('button', {type: 'button'}, image, element('span', {}, p.name), state)
  p.item = element('li', {}, button)
  p.image = image
  p.state = state
  button.addEventListener('click', () => { if (p.id) open(p); else if (p.failed) { forget(p); showAll() } })
  $('pictures').append(p.item)
  showRow(p)
}

function showRow(p, key = null, failure = null) {
  p.state.textContent = failure ? text('dismiss', {error: failure}) : key ? text(key) : ''
  p.failed = Boolean(failure)
  p.item.classList.toggle('wrong', Boolean(failure))
  p.item.firstChild.setAttribute('aria-current', p === current)
  p.item.firstChild.disabled = !p.id && !failure
  p.image.hidden = !p.id
  if (p.id && !failure) p.image.src = p.url || lookOf(p, '/color', {version: p.version})
}

function showAll() {
  const ready = pictures.filter(p => p.id)
  const stills = ready.filter(p => !p.film) // what goes into one archive
  $('welcome').hidden = ready.length > 0 || uploading
  $('work').hidden = !current
  $('pictures-nav').hidden = !pictures.length
  $('download-all').hidden = stills.length < 2
  $('for-all').hidden = ready.length < 2
  $('clear').hidden = !pictures.length
}

const isHints = file => /\.hints\.json$/i.test(file.name)

async function addFiles(files) {
  complain()
  points.push(...files.filter(isHints))
  for (const file of files.filter(f => !isHints(f))) {
    const p = {...prepared({name: file.name || 'picture.png', settings: null}), file}
    pictures.push(p)
    addRow(p)
    showRow(p, 'waiting')
    uploads.push(p)
    total++
  }
  if (!uploading) await upload()
}

async function send(p) { // into this session; into a new one, if the program was started anew meanwhile
  const there = () => `s/${session}/pictures?name=${encodeURIComponent(p.name)}`
  const options = {method: 'POST', body: p.file}
  try { return await ask(there(), options) }
  catch (e) { if (e.status !== 404) throw e }
  await begin()
  for (const o of pictures.filter(o => o.id)) forget(o)
  current = null
  complain(text('over'))
  return ask(there(), options)
}

async function upload() {
  uploading = true
  showAll()
  let done = 0, last = null
  while (uploads.length) {
    const p = uploads.shift()
    sent++
    progress('uploading', sent, total, p.name)
    showRow(p, 'loading')
    try {
      Object.assign(p, await (await send(p)).json())
      done++
      last = p
      showRow(p)
      if (!current) open(p)
    } catch (e) {
      showRow(p, null, e.message)
      complain(e.message.includes(p.name) ? e.message : text('failed', {name: p.name, error: e.message}))
    }
    delete p.file
    showAll()
  }
  uploading = false
  sent = total = 0
  progress()
  while (points.length) await loadPoints(points.shift())
  if (done) tell(done === 1 ? 'uploadedOne' : 'uploaded', {n: done, name: last.name})
  showAll()
}

function progress(key = null, n = 0, of = 0, name = '') {
  $('batch').hidden = !key
  if (!key) return
  $('batch-text').textContent = text(key, {n, of, name})
  $('batch-bar').max = of
  $('batch-bar').value = n - 1
}

function open(p) {
  const before = current
  current = p
  sessionStorage.setItem('colorize-nb-open', p.id)
  selected = -1
  zoom = 1
  for (const o of [before, p]) if (o?.item) showRow(o)
  const many = p.film ? (p.film.sound ? 'aboutSound' : 'aboutFilm') : p.pages > 1 ? 'aboutPages' : 'about'
  $('name').textContent = p.name
  $('about').textContent = [text(many, p.film ? {...p, fps: +p.film.fps.toFixed(2)} : p), ...p.notes].join(' · ')
  $('force-row').hidden = !p.colored
  $('gray').src = lookOf(p, '/gray')
  if (p.url) $('color').src = p.url
  else $('color').removeAttribute('src')
  $('stage').setAttribute('aria-label', text('stage', {name: p.name}))
  hideAnswers()
  backToFrame()
  showFilm(p)
  if (p.film) poll(p)
  showAll()
  fit()
  showSettings()
  render()
}

function seeFrame(n) { // of the film that is open
  const p = current
  p.frame = clamp(n, p.film.frames - 1)
  selected = -1
  backToFrame()
  showFilm(p)
  $('gray').src = lookOf(p, '/gray')
  showHints()
  render()
}

function fit() { // as large as the window has room for
  if (!current || $('work').hidden) return
  const wide = $('view').clientWidth, part = (wide < 600 ? .5 : .75) - (current.film ? .15 : 0)
  const high = Math.max(220, window.innerHeight*part)
  const width = current.width*(current.film?.aspect ?? 1) // pixels of films need not be square
  const k = Math.min(wide/width, high/current.height)
  for (const [name, n] of [['width', width], ['height', current.height]]) {
    const pixels = Math.max(1, Math.round(n*k))
    $('frame').style[name] = `${pixels}px`
    $('stage').style[name] = `${pixels*zoom}px`
  }
  keepFocus(() => {
    $('zoom-out').disabled = zoom === 1
    $('zoom-in').disabled = zoom === 8
  })
}

function setZoom(times) { // what is in the middle stays there
  const frame = $('frame'), stage = $('stage')
  const x = (frame.scrollLeft + frame.clientWidth/2)/stage.clientWidth
  const y = (frame.scrollTop + frame.clientHeight/2)/stage.clientHeight
  zoom = clamp(times, 8)
  fit()
  frame.scrollTo(x*stage.clientWidth - frame.clientWidth/2, y*stage.clientHeight - frame.clientHeight/2)
  if (!busy && side() > current.side) render()
}

function side() { // pixels of the screen that the stage fills, in steps, so that the server can use an answer again
  const most = Math.max($('stage').clientWidth, $('stage').clientHeight)*(window.devicePixelRatio || 1)
  return Math.min(1024, 128*Math.ceil(most/128))
}

async function removePicture(p) {
  const i = pictures.indexOf(p)
  try { if (p.id) await ask(pathOf(p), {method: 'DELETE'}) }
  catch (e) { if (e.status !== 404) return complain(e.message) }
  forget(p)
  const next = pictures.slice(i).find(o => o.id) || pictures.findLast(o => o.id)
  current = null
  if (next) { open(next); next.item.firstChild.focus() } else { showAll(); $('choose').focus() }
}

function forget(p) {
  pictures = pictures.filter(o => o !== p)
  p.item.remove()
  if (p.url) URL.revokeObjectURL(p.url)
  p.url = null
}

// ---------------------------------------------------------------- colours

async function render(p = current) { // one preview at a time; the newest settings win
  if (busy) { again = true; return }
  busy = true
  $('stage').setAttribute('aria-busy', true)
  const frame = p.frame
  p.unsent = false
  let told = false
  const slow = setTimeout(() => { told = true; tell('coloring') }, 300)
  try {
    p.side = side()
    const reply = await ask(lookOf(p, '/color', {side: p.side}), asJson(p.settings))
    const url = URL.createObjectURL(await reply.blob())
    if (p.url) URL.revokeObjectURL(p.url)
    p.url = url
    p.version++
    const seen = p === current && frame === p.frame
    if (seen) $('color').src = url
    const shown = seen ? $('color').decode().catch(() => {}) : Promise.resolve()
    shown.then(() => { if (p.url === url) p.image.src = url }) // the small copy can wait
    if (failing) complain()
    failing = false
  } catch (e) { if (p === current) { failing = true; complain(e.message) } }
  clearTimeout(slow)
  if (told) tell()
  busy = false
  if (p === current) $('stage').dataset.version = p.version
  const left = pictures.find(o => o.unsent && o !== current) // it was changed, and another one opened at once
  if (again) { again = false; if (current) render() }
  if (!busy && left) render(left)
  $('stage').setAttribute('aria-busy', busy)
  if (!busy) prepare(p)
}

async function prepare(p) { // so that suggestions are there at once when a place is clicked
  const {name, answers} = modelOf(p)
  const wanted = `${name} ${p.frame}`
  if (!answers || p.prepared === wanted) return
  p.prepared = wanted
  try { await ask(lookOf(p, '/suggest', {x: 0, y: 0})) } catch {} // who clicks is told
}

// `keep` is false while a slider or a point is dragged: the whole movement is one step to take back
function change(settings, keep = true) {
  const p = current, before = JSON.stringify(p.settings)
  if (!('answer' in settings)) hideAnswers() // they show the settings before
  if (p.moving === undefined) p.moving = before
  p.settings = {...p.settings, ...settings}
  p.unsent = true
  complain()
  backToFrame()
  if (keep) {
    if (p.moving !== JSON.stringify(p.settings)) { p.past.push(p.moving); p.future = [] }
    p.moving = undefined
  }
  showSettings()
  render()
}

function changeModel(name) {
  const m = models.find(o => o.name === name), {hints} = current.settings
  if (!m.hints) selected = -1
  change({model: name, vivid: null, saturation: null, answer: null, hints: m.hints ? hints : []})
  hideAnswers()
}

function step(from, to) {
  const p = current
  if (!p || !p[from].length) return
  const rest = s => JSON.stringify({...s, answer: null}), before = rest(p.settings), {model} = p.settings
  p[to].push(JSON.stringify(p.settings))
  p.settings = JSON.parse(p[from].pop())
  p.unsent = true
  if (rest(p.settings) !== before) hideAnswers() // they show the settings before
  p.moving = undefined
  selected = Math.min(selected, p.settings.hints.length - 1)
  showSettings()
  render()
  if (model !== p.settings.model && selected >= 0) settled().then(suggest)
}

function showSettings() {
  const p = current, s = p.settings, m = modelOf(p)
  const vivid = m.vivid === null ? null : s.vivid ?? m.vivid, saturation = s.saturation ?? m.saturation
  $('vivid').disabled = vivid === null
  $('vivid').value = vivid ?? 0
  $('vivid-value').textContent = vivid === null ? text('vividNone') : vivid.toFixed(2)
  $('saturation').value = saturation
  $('saturation-value').textContent = saturation.toFixed(2)
  $('force').checked = s.force
  $('model').value = m.name
  $('model-about').textContent = m.description
  const sizes = [null, ...new Set([96, 128, 160, 192, 256, 320, 384, 512, s.size ?? 96])]
  $('size').replaceChildren(...sizes.map(n =>
    element('option', {value: n ?? ''}, n === null ? text('sizeOwn', {size: m.size}) : String(n))))
  $('size').value = s.size ?? ''
  keepFocus(() => {
    $('undo').disabled = !p.past.length
    $('redo').disabled = !p.future.length
  })
  $('answers-row').hidden = p.film || hasColors(p) || !m.answers && !able()
  $('show-answers').hidden = !m.answers
  showLacks(m)
  $('steady').value = s.steady ?? .9
  $('steady-value').textContent = (s.steady ?? .9).toFixed(2)
  for (const b of $('answers').children) b.setAttribute('aria-pressed', b.dataset.answer === String(s.answer))
  $('save-points').hidden = !s.hints.length
  const help = hasColors(p) ? 'hintsColored' : !m.hints ? 'hintsOff' : p.film ? 'hintsFilm' : 'hintsOn'
  $('hint-help').textContent = text(help, {model: m.name})
  showHints()
}

// ---------------------------------------------------------------- what the model lacks, and which one has it

const able = () => models.find(m => m.answers) // with a distribution over the colours: it suggests, and has answers

function showLacks(m) {
  const other = m.answers ? null : able()
  for (const id of ['lacks-answers', 'lacks-swatches']) {
    $(id).hidden = !other
    if (!other) continue
    const [about, button] = $(id).children
    const key = id === 'lacks-answers' ? 'lacksAnswers' : 'lacksSwatches'
    about.textContent = text(key, {model: m.name, other: other.name})
    button.textContent = text('changeTo', {other: other.name})
  }
}

async function changeToAble(then) { // the points stay, and so does the one that is open
  const p = current
  changeModel(able().name)
  await settled() // what was there in the other model is there in this one
  if (p === current) await then()
}

// ---------------------------------------------------------------- several answers to start from

function hideAnswers() {
  $('answers').hidden = true
  $('answers').replaceChildren()
  $('show-answers').setAttribute('aria-expanded', false)
}

async function showAnswers() {
  if (!$('answers').hidden) return hideAnswers()
  const p = current
  let rows = []
  $('show-answers').disabled = true
  tell('coloring')
  try {
    await settled() // the server has the newest settings
    tell('coloring')
    const asked = JSON.stringify(p.settings)
    rows = await (await ask(pathOf(p, '/answers'))).json()
    if (asked !== JSON.stringify(p.settings)) rows = [] // of settings that are gone
  } catch (e) { complain(e.message) }
  tell()
  $('show-answers').disabled = false
  if (p !== current || !rows.length) return
  $('answers').replaceChildren(...rows.map(({answer, image}) => {
    const label = text(answer === null ? 'asPredicted' : 'answer', {n: answer, of: rows.length - 1})
    const attributes = {type: 'button', class: 'answer', 'aria-label': label}
    const b = element('button', attributes, element('img', {src: image, alt: ''}))
    b.dataset.answer = answer
    b.addEventListener('click', () => change({answer}))
    return b
  }))
  $('answers').hidden = false
  $('show-answers').setAttribute('aria-expanded', true)
  showSettings()
  $('answers').firstChild.focus({preventScroll: true})
}

// ---------------------------------------------------------------- a person's colours

const hasColors = p => p.colored && !p.settings.force // which are shown as they are
const takesHints = () => modelOf(current).hints && !hasColors(current)
const clamp = (v, most) => Math.min(Math.max(v, 0), most)
function placeOf(share) { // pixels of the full-size picture, whose first one's centre is 0, 0
  const at = (v, n) => clamp(Math.round(v*n - .5), n - 1)
  return {x: at(share.x, current.width), y: at(share.y, current.height)}
}
function shareOf(event, box = $('stage')) {
  const r = box.getBoundingClientRect()
  return {x: clamp((event.clientX - r.left)/r.width, 1), y: clamp((event.clientY - r.top)/r.height, 1)}
}

function showHints() {
  const p = current, old = [...$('hints').children]
  p.settings.hints.forEach((h, i) => {
    const b = old[i] || newHint(i)
    b.style.left = `${(h.x + .5)/p.width*100}%`
    b.style.top = `${(h.y + .5)/p.height*100}%`
    b.style.backgroundColor = hex(h.rgb)
    b.hidden = Boolean(p.film) && h.frame !== p.frame
    b.setAttribute('aria-pressed', i === selected)
    b.setAttribute('aria-label', text('hint', {color: hex(h.rgb), x: h.x, y: h.y}))
    if (!old[i]) $('hints').append(b)
  })
  old.slice(p.settings.hints.length).forEach(b => b.remove())
  $('point').hidden = selected < 0
  if (selected >= 0) $('own').value = hex(p.settings.hints[selected].rgb)
}

function withHint(i, values) { return current.settings.hints.map((h, j) => j === i ? {...h, ...values} : h) }

function newHint(i) {
  const b = element('button', {type: 'button', class: 'hint'})
  let start = null, moved = false
  b.addEventListener('pointerdown', e => {
    start = {x: e.clientX, y: e.clientY}
    moved = false
    b.setPointerCapture(e.pointerId)
    e.stopPropagation()
  })
  b.addEventListener('pointermove', e => {
    if (!start) return
    moved ||= Math.hypot(e.clientX - start.x, e.clientY - start.y) > 4
    if (moved) change({hints: withHint(i, placeOf(shareOf(e)))}, false)
  })
  const end = () => {
    if (start && moved) change({})
    start = null
  }
  b.addEventListener('pointerup', end)
  b.addEventListener('pointercancel', end)
  b.addEventListener('click', e => {
    e.stopPropagation()
    const dragged = moved && e.detail > 0 // a key has no drag before it
    moved = false
    if (!dragged && e.detail < 2) select(i, e.detail === 0) // the second of a double click is for nobody
  })
  b.addEventListener('keydown', e => {
    const far = Math.max(1, Math.round(Math.max(current.width, current.height)/(e.shiftKey ? 400 : 80)))
    const way = {ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far]}[e.key]
    if (way) {
      const h = current.settings.hints[i]
      const x = clamp(h.x + way[0], current.width - 1), y = clamp(h.y + way[1], current.height - 1)
      change({hints: withHint(i, {x, y})})
    } else if (e.key === 'Delete' || e.key === 'Backspace') removeHint(i)
    else return
    e.preventDefault()
    e.stopPropagation()
  })
  return b
}

async function suggestions(p, {x, y}) { // the most plausible colours of a place; none where the model has none
  if (!modelOf(p).answers) return []
  return (await ask(lookOf(p, '/suggest', {x, y}))).json()
}

async function addHint(share, byKeyboard) {
  if (!takesHints()) {
    complain($('hint-help').textContent)
    if (hasColors(current)) $('force').focus()
    return
  }
  const p = current, place = placeOf(share), frame = p.frame
  let colors = []
  try { colors = await suggestions(p, place) }
  catch (e) { return complain(e.message) }
  if (p !== current || frame !== p.frame) return
  const rgb = colors.length ? colors[0].rgb : colorAt(share)
  selected = p.settings.hints.length
  const radius = Math.max(2, Math.round(Math.max(p.width, p.height)/100)) // a few pixels where the network looks
  change({hints: [...p.settings.hints, {...place, radius, rgb, ...(p.film ? {frame} : {})}]})
  showSwatches(colors)
  if (byKeyboard) ($('swatches').firstChild || $('own')).focus()
  else $('hints').children[selected]?.focus({preventScroll: true})
}

function colorAt(share) { // what the preview shows there
  const image = $('color'), canvas = element('canvas', {width: 1, height: 1}), c = canvas.getContext('2d')
  if (!image.naturalWidth) return [128, 128, 128]
  const at = (v, n) => Math.min(Math.floor(v*n), n - 1)
  c.drawImage(image, at(share.x, image.naturalWidth), at(share.y, image.naturalHeight), 1, 1, 0, 0, 1, 1)
  return [...c.getImageData(0, 0, 1, 1).data].slice(0, 3)
}

async function select(i, byKeyboard) {
  selected = selected === i ? -1 : i
  showHints()
  if (selected < 0) return
  await suggest()
  if (byKeyboard) ($('swatches').firstChild || $('own')).focus()
}

async function suggest() { // for the point whose colours are open
  const p = current, i = selected
  if (i < 0) return
  let colors = []
  try { colors = await suggestions(p, p.settings.hints[i]) }
  catch (e) { complain(e.message) }
  if (p === current && i === selected) showSwatches(colors)
}

function showSwatches(colors) {
  $('swatches').replaceChildren(...colors.map(({rgb, share}) => {
    const b = element('button', {type: 'button', class: 'swatch', title: `${Math.round(share*100)} %`,
                                 'aria-label': text('swatch', {color: hex(rgb), share: Math.round(share*100)})})
    b.style.backgroundColor = hex(rgb)
    b.addEventListener('click', () => setColor(rgb))
    return b
  }))
}

function setColor(rgb, keep = true) { if (selected >= 0) change({hints: withHint(selected, {rgb})}, keep) }

function removeHint(i) {
  selected = -1
  change({hints: current.settings.hints.filter((_, j) => j !== i)})
  const left = [...$('hints').children].filter(b => !b.hidden)
  ;(left[Math.min(i, left.length - 1)] || $('stage')).focus({preventScroll: true})
}

function closePoint() {
  const b = $('hints').children[selected]
  selected = -1
  showHints()
  ;(b || $('stage')).focus({preventScroll: true})
}

// ---------------------------------------------------------------- the picture under the pointer

function setSlider(percent) {
  $('slider').value = percent
  $('slider').setAttribute('aria-valuetext', text('sliderValue', {percent}))
  $('color').style.clipPath = `inset(0 0 0 ${percent}%)`
  $('line').style.left = `${percent}%`
}

function watchStage() {
  let dragging = false
  $('line').addEventListener('pointerdown', e => {
    dragging = true
    $('line').setPointerCapture(e.pointerId)
    e.preventDefault()
  })
  $('line').addEventListener('pointermove', e => { if (dragging) setSlider(Math.round(shareOf(e).x*100)) })
  for (const end of ['pointerup', 'pointercancel']) $('line').addEventListener(end, () => { dragging = false })
  $('line').addEventListener('click', e => e.stopPropagation())
  $('slider').addEventListener('input', () => setSlider(+$('slider').value))
  $('stage').addEventListener('click', e => { if (e.detail < 2) addHint(shareOf(e), false) })
  $('stage').addEventListener('keydown', e => {
    if (e.target !== $('stage')) return
    if (e.key === 'Enter' || e.key === ' ') {
      e.preventDefault()
      $('cross').hidden = true
      addHint({...cross}, true)
    } else if (moveCross(e, cross)) showCross()
  })
  $('stage').addEventListener('blur', () => { $('cross').hidden = true })
}

function moveCross(e, at) {
  const far = e.shiftKey ? .005 : .025
  const way = {ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far]}[e.key]
  if (!way) return false
  at.x = clamp(at.x + way[0], 1)
  at.y = clamp(at.y + way[1], 1)
  e.preventDefault()
  return true
}

function showCross() {
  $('cross').hidden = false
  $('cross').style.left = `${cross.x*100}%`
  $('cross').style.top = `${cross.y*100}%`
  if (zoom > 1) $('cross').scrollIntoView({block: 'nearest', inline: 'nearest'})
}

// ---------------------------------------------------------------- a colour from another picture, which is not sent

const reference = {at: {x: .5, y: .5}, image: null, rgb: null}

async function showReference(file) {
  try { reference.image = await createImageBitmap(file) }
  catch { return complain(text('referenceFailed')) }
  const k = Math.min(1, 800/Math.max(reference.image.width, reference.image.height))
  $('reference').width = Math.max(1, Math.round(reference.image.width*k))
  $('reference').height = Math.max(1, Math.round(reference.image.height*k))
  $('reference-box').hidden = false
  pick({x: .5, y: .5})
  $('reference').focus()
}

function pick(at) {
  const canvas = $('reference'), c = canvas.getContext('2d', {willReadFrequently: true})
  reference.at = at
  c.drawImage(reference.image, 0, 0, canvas.width, canvas.height)
  const x = Math.min(Math.floor(at.x*canvas.width), canvas.width - 1)
  const y = Math.min(Math.floor(at.y*canvas.height), canvas.height - 1)
  reference.rgb = [...c.getImageData(x, y, 1, 1).data].slice(0, 3)
  for (const [color, wide] of [['#000', 4], ['#fff', 2]]) {
    c.strokeStyle = color
    c.lineWidth = wide
    c.strokeRect(x - 6, y - 6, 13, 13)
  }
  $('picked').style.backgroundColor = hex(reference.rgb)
  canvas.setAttribute('aria-label', hex(reference.rgb))
}

// ---------------------------------------------------------------- taking them home

function fetchFile(path, name = '') {
  const a = element('a', {href: path, download: name})
  document.body.append(a)
  a.click()
  a.remove()
}

async function settled() { while (busy || again) await new Promise(r => setTimeout(r, 20)) }

async function download(what = '') {
  if (current.film) return saveFilm(current)
  const p = current, path = pathOf(p, '/file' + what), wake = rest('download', 'layers')
  complain()
  tell('making')
  try {
    await settled()
    tell('making')
    const made = await (await ask(path, {method: 'POST'})).json()
    fetchFile(path)
    tell('made', made)
  } catch (e) { complain(e.message); tell() }
  wake()
}

async function downloadAll() {
  const ready = pictures.filter(p => p.id && !p.film), wake = rest('download-all')
  complain()
  await settled()
  for (const [i, p] of ready.entries()) {
    progress('makingAll', i + 1, ready.length, p.name)
    try { await ask(pathOf(p, '/file'), {method: 'POST'}) }
    catch (e) { showRow(p, null, e.message) }
  }
  progress()
  fetchFile(`s/${session}/all.zip`)
  wake()
}

async function forAll() {
  const {model, vivid, saturation, size, answer} = current.settings
  for (const p of pictures.filter(o => o.id && o !== current)) {
    try { await changeOther(p, {model, vivid, saturation, size, ...(p.film ? {} : {answer})}) }
    catch (e) { showRow(p, null, e.message) }
  }
  tell('forAllDone')
}

async function changeOther(p, settings) { // of a picture that is not open
  const before = p.settings
  p.settings = {...p.settings, ...settings}
  try {
    const reply = await ask(lookOf(p, '/color'), asJson(p.settings))
    if (p.url) URL.revokeObjectURL(p.url)
    p.url = URL.createObjectURL(await reply.blob())
  } catch (e) {
    p.settings = before
    throw e
  }
  p.past.push(JSON.stringify(before))
  p.future = []
  showRow(p)
}

// ---------------------------------------------------------------- points as a file, as the command takes them

function savePoints() {
  const {name, width, height, settings, film} = current, size = [width, height]
  const points = settings.hints.map(({x, y, radius, rgb}) => ({x, y, radius, rgb}))
  const numbers = [...new Set(settings.hints.map(h => h.frame))].sort((a, b) => a - b)
  const of = frame => ({format: 1, size, frame, hints: points.filter((_, i) => settings.hints[i].frame === frame)})
  const data = film ? numbers.map(of) : {format: 1, size, hints: points}
  const file = new Blob([JSON.stringify(data) + '\n'], {type: 'application/json'})
  const url = URL.createObjectURL(file)
  fetchFile(url, name.replace(/\.[^.]*$/, '') + '.hints.json')
  setTimeout(() => URL.revokeObjectURL(url), 60000)
}

async function loadPoints(file) {
  const stem = file.name.slice(0, -'.hints.json'.length)
  const p = pictures.findLast(o => o.id && [o.name, o.name.replace(/\.[^.]*$/, '')].includes(stem))
  if (!p) return complain(text('pointsAlone', {name: file.name}))
  try {
    let data = null
    try { data = JSON.parse(await file.text()) } catch {} // refused below
    const parts = p.film && Array.isArray(data) ? data : [data] // of a film: one for each frame with points
    const hints = parts.flatMap(part => {
      if (!Array.isArray(part?.hints) || part.format !== 1) throw new Error(text('pointsUnread'))
      if (`${part.size}` !== `${[p.width, p.height]}`) throw new Error(text('pointsSize', {name: p.name}))
      return part.hints.map(h => ({radius: 4, ...h, ...(p.film ? {frame: part.frame ?? 0} : {})}))
    })
    await settled()
    await changeOther(p, {hints})
    if (p === current) open(p)
    tell('pointsLoaded', {n: p.settings.hints.length, name: p.name})
  } catch (e) { complain(text('failed', {name: file.name, error: e.message})) }
}

async function clearAll() {
  if (!confirm(text('clearAsk'))) return
  try { await ask(`s/${session}`, {method: 'DELETE'}) } catch (e) { if (e.status !== 404) return complain(e.message) }
  for (const p of [...pictures]) forget(p)
  current = null
  complain()
  showAll()
  $('choose').focus()
}

// ---------------------------------------------------------------- everything that can be pressed

function watchControls() {
  const live = (id, read) => {
    $(id).addEventListener('input', () => change(read(), false))
    $(id).addEventListener('change', () => change(read()))
  }
  live('vivid', () => ({vivid: +$('vivid').value}))
  live('saturation', () => ({saturation: +$('saturation').value}))
  live('steady', () => ({steady: +$('steady').value}))
  $('size').addEventListener('change', () => change({size: $('size').value ? +$('size').value : null}))
  $('force').addEventListener('change', () => change({force: $('force').checked}))
  $('model').addEventListener('change', () => {
    changeModel($('model').value)
    if (selected >= 0) settled().then(suggest)
  })
  const clicks = {
    undo: () => step('past', 'future'), redo: () => step('future', 'past'), done: closePoint, forAll,
    download: () => download(), layers: () => download('?format=ora'), showAnswers,
    reset: () => {
      selected = -1
      change({vivid: null, saturation: null, size: null, answer: null, hints: [],
              ...(current.film ? {steady: null} : {})})
      hideAnswers()
    },
    removePoint: () => removeHint(selected), savePoints,
    ableAnswers: () => changeToAble(async () => {
      await showAnswers()
      if (document.activeElement === document.body) $('show-answers').focus()
    }),
    ableSwatches: () => changeToAble(async () => {
      await suggest()
      ;($('swatches').firstChild || $('own')).focus()
    }),
    remove: () => removePicture(current), downloadAll, clear: clearAll,
    take: () => setColor(reference.rgb), zoomIn: () => setZoom(2*zoom), zoomOut: () => setZoom(Math.max(1, zoom/2))}
  for (const [name, f] of Object.entries(clicks)) {
    $(name.replace(/[A-Z]/g, c => '-' + c.toLowerCase())).addEventListener('click', f)
  }
  $('own').addEventListener('input', () => setColor(rgbOf($('own').value), false))
  $('own').addEventListener('change', () => setColor(rgbOf($('own').value)))
  $('reference').addEventListener('click', e => { pick(shareOf(e, $('reference'))); setColor(reference.rgb) })
  $('reference').addEventListener('keydown', e => {
    if (e.key === 'Enter') setColor(reference.rgb)
    else if (moveCross(e, reference.at)) pick(reference.at)
  })
  const inputs = {choose: addFiles, camera: addFiles, 'choose-reference': files => showReference(files[0])}
  for (const [id, f] of Object.entries(inputs)) {
    $(id).addEventListener('change', () => {
      const files = [...$(id).files]
      $(id).value = '' // the same file may be chosen again
      if (files.length) f(files)
    })
  }
}

function watchPage() {
  document.addEventListener('keydown', e => {
    if (!current) return
    const key = e.key.toLowerCase(), ctrl = e.ctrlKey || e.metaKey
    if (ctrl && key === 'z' && !e.shiftKey) step('past', 'future')
    else if (ctrl && (key === 'y' || key === 'z')) step('future', 'past')
    else if (key === 'escape' && selected >= 0) closePoint()
    else if (!ctrl && '+-'.includes(key)) setZoom(Math.max(1, key === '+' ? 2*zoom : zoom/2))
    else if ((key === 'pageup' || key === 'pagedown') && !ctrl) {
      const ready = pictures.filter(p => p.id), next = ready[ready.indexOf(current) + (key === 'pageup' ? -1 : 1)]
      if (!next) return
      open(next)
    } else return
    e.preventDefault()
  })
  document.addEventListener('paste', e => {
    const files = [...e.clipboardData.files]
    if (files.length) { e.preventDefault(); addFiles(files) }
  })
  let depth = 0
  const hasFiles = e => [...e.dataTransfer.types].includes('Files')
  const over = on => { depth = on; $('drop').hidden = depth < 1 }
  document.addEventListener('dragenter', e => { if (hasFiles(e)) over(depth + 1) })
  document.addEventListener('dragleave', e => { if (hasFiles(e)) over(Math.max(0, depth - 1)) })
  document.addEventListener('dragover', e => { if (hasFiles(e)) e.preventDefault() })
  document.addEventListener('drop', e => {
    if (!hasFiles(e)) return
    e.preventDefault()
    over(0)
    const files = [...e.dataTransfer.files]
    const entries = [...e.dataTransfer.items].map(i => i.webkitGetAsEntry?.()).filter(Boolean) // now, or they are gone
    if ($('point').contains(e.target) && files.length) showReference(files[0])
    else if (entries.some(o => o.isDirectory)) Promise.all(entries.map(filesBelow)).then(all => addFiles(all.flat()))
    else addFiles(files)
  })
  window.addEventListener('resize', () => {
    fit()
    if (current && !busy && side() > current.side) render()
  })
}

async function filesBelow(entry) { // of a folder that was dropped; hidden ones are no pictures
  if (entry.name.startsWith('.')) return []
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))]
  const reader = entry.createReader(), found = []
  for (;;) { // it gives some at a time
    const some = await new Promise((done, failed) => reader.readEntries(done, failed))
    if (!some.length) break
    found.push(...some)
  }
  found.sort((a, b) => a.name.localeCompare(b.name))
  return (await Promise.all(found.map(filesBelow))).flat()
}

async function start() {
  document.documentElement.lang = language
  document.title = text('title')
  for (const e of document.querySelectorAll('[data-text]')) e.textContent = text(e.dataset.text)
  watchStage()
  watchControls()
  watchFilm()
  watchPage()
  setSlider(0)
  try {
    models = await (await ask('api/models')).json()
    $('model').replaceChildren(...models.map(m => element('option', {value: m.name}, m.name)))
    const mine = session
    session = null // of which nothing is told before it is known
    if (await otherTabHas(mine)) tell('otherTab')
    else session = mine
    if (session) {
      try {
        const {pictures: rows} = await (await ask(`s/${session}`)).json()
        pictures = rows.map(prepared)
      } catch (e) {
        if (e.status !== 404) throw e
        session = null
        tell('over')
      }
    }
    if (!session) await begin()
    pictures.forEach(addRow)
    showAll()
    const last = sessionStorage.getItem('colorize-nb-open')
    if (pictures.length) open(pictures.find(p => p.id === last) || pictures[0])
  } catch (e) { complain(e.message) }
  document.body.dataset.ready = 'yes'
}

start()
