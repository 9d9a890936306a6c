// What a participant's browser does in a study. The notebook 21c_study_app tells why.
'use strict'

const $ = id => document.getElementById(id), page = document.body, texts = JSON.parse(page.dataset.texts), pairs = page.dataset.design === 'pairs'
const say = (key, values = {}) => texts[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all)
const pause = ms => new Promise(done => setTimeout(done, ms))
const frame = () => new Promise(requestAnimationFrame)
const state = name => { page.dataset.state = name } // the style sheet says what is visible in which state
const note = text => { if ($('note').textContent !== text) $('note').textContent = text }

// What outlives a reload. Where a browser forbids it, things are kept as long as the page.
const store = {
  who: '', memory: {},
  get(key) { try { return JSON.parse(localStorage.getItem(this.who + key)) } catch { return this.memory[key] ?? null } },
  set(key, value) { this.memory[key] = value; try { localStorage.setItem(this.who + key, JSON.stringify(value)) } catch {} },
  drop(key) { delete this.memory[key]; try { localStorage.removeItem(this.who + key) } catch {} },
}

// A reply of the server, or an exception if there is none.
async function ask(path, body) {
  const stop = new AbortController(), timer = setTimeout(() => stop.abort(), 10000)
  const post = body && {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)}
  try {
    const reply = await fetch(path, {...post, signal: stop.signal, cache: 'no-store', keepalive: true}) // it may go on when the page is closed
    if (reply.status >= 500) throw Error(reply.status)
    return {status: reply.status, data: await reply.json()}
  } finally { clearTimeout(timer) }
}

// Ask until there is a reply, less and less often.
async function insist(path, body) {
  for (let wait = 500; ; wait = Math.min(2*wait, 8000)) {
    try { const reply = await ask(path, body); note(''); return reply } catch { note(texts.offline) }
    await Promise.race([pause(wait*(.75 + Math.random()/2)), new Promise(go => addEventListener('online', go, {once: true}))])
  }
}

// An answer is kept here until the server has it. A refused one is dropped: the server knows where we are.
async function send(answer) {
  store.set('answer', answer)
  const {status, data} = await insist('answer', answer)
  store.drop('answer')
  return status === 200 ? data : null
}

// One picture, loaded and decoded, so that it can be painted within a frame.
async function picture(name, trial) {
  for (let wait = 500; ; wait = Math.min(2*wait, 8000)) {
    const img = Object.assign(new Image(trial.width, trial.height), {decoding: 'sync', draggable: false, src: `picture/${name}`})
    try { await img.decode(); note(''); return img } catch { note(texts.offline) }
    await pause(wait)
  }
}

const loading = new Map()
function load(trial) {
  if (!loading.has(trial.number)) loading.set(trial.number, Promise.all(trial.pictures.map(name => picture(name, trial))))
  return loading.get(trial.number)
}

// The names of the places are fixed when a trial begins: a phone may be turned meanwhile.
let sides = ['left', 'right']
function arrange(imgs) {
  const stacked = pairs && matchMedia('(orientation: portrait)').matches
  page.dataset.layout = stacked ? 'stacked' : 'beside'
  sides = stacked ? ['upper', 'lower'] : ['left', 'right']
  imgs.forEach((img, i) => { img.alt = texts[pairs ? `alt_${sides[i]}` : 'alt']; img.className = '' })
  if (pairs) document.querySelectorAll('#answers b').forEach((b, i) => { b.textContent = texts[sides[i]] })
  if (pairs) document.querySelectorAll('#answers kbd').forEach((b, i) => { b.textContent = (stacked ? '↑↓' : '←→')[i] })
  $('pictures').replaceChildren(...imgs)
}

// A page that is loaded again is hidden too, for a moment, after this.
let leaving = false
addEventListener('pagehide', () => { leaving = true })

// Show until `limit` milliseconds are over (to the nearest frame) or the page is left; resolves to the time when the pictures went.
function until(limit, start, seen) {
  return new Promise(done => {
    let last = start, over = false
    const end = time => { if (over) return; over = true; document.removeEventListener('visibilitychange', left); state('gone'); done(time) }
    const left = () => { if (!leaving) { seen.hidden = true; end(performance.now()) } }
    const tick = time => { if (over) return; time - start >= limit - (time - last)/2 ? end(time) : (last = time, requestAnimationFrame(tick)) }
    document.addEventListener('visibilitychange', left)
    requestAnimationFrame(tick)
  })
}

// A limited exposure. `seen` is stored before and after, and when the page goes away in between.
async function expose(limit, seen) {
  seen.shows++
  store.set('seen', seen)
  const start = await frame(), went = () => store.set('seen', {...seen, ms: seen.ms + performance.now() - start})
  addEventListener('pagehide', went)
  state('shown') // in a frame's callback: this frame paints them
  const end = await until(limit, start, seen)
  removeEventListener('pagehide', went)
  Object.assign(seen, {ms: seen.ms + end - start, over: true})
  store.set('seen', seen)
  await frame() // the frame without the pictures is on its way
}

// A choice, and the time of the press. There is never more than one who waits for it.
let take = null
function choose() { return new Promise(done => { take = (choice, time) => { take = null; done([choice, time]) } }) }

// Pictures stay until the answer; `seen.ms` counts while the page can be seen.
async function chooseLooking(seen) {
  seen.shows++
  let since = await frame()
  const start = since, keep = () => store.set('seen', seen)
  const count = time => { if (since !== null) seen.ms += Math.max(0, time - since); since = null; keep() }
  const turned = () => { if (leaving) return; if (document.hidden) { seen.hidden = true; count(performance.now()) } else since = performance.now() }
  const went = () => count(performance.now())
  keep()
  document.addEventListener('visibilitychange', turned)
  addEventListener('pagehide', went)
  state('open')
  $('ask').focus({preventScroll: true})
  const [choice, time] = await choose()
  state('gone')
  document.removeEventListener('visibilitychange', turned)
  removeEventListener('pagehide', went)
  count(time)
  return [choice, time - start]
}

async function chooseAfter() {
  const start = performance.now()
  state('asked')
  $('ask').focus({preventScroll: true})
  const [choice, time] = await choose()
  state('gone')
  return [choice, time - start]
}

// The fixation mark. Who leaves the page meanwhile is asked to come back first.
let away = true
document.addEventListener('visibilitychange', () => { away ||= document.hidden })
async function mark() {
  for (;;) {
    state('mark')
    await pause(600)
    if (!away) return
    await card(texts.back_title, texts.ready_text, texts.go_on)
  }
}

// One trial, from the fixation mark to the answer.
async function present(trial, limit) {
  const slow = setTimeout(() => note(texts.loading), 800), imgs = await load(trial), kept = store.get('seen')
  clearTimeout(slow)
  note('')
  const seen = kept?.number === trial.number ? kept : {number: trial.number, shows: 0, ms: 0, hidden: false, over: false}
  arrange(imgs)
  $('ask').textContent = texts.question
  if (!seen.over) {
    await mark()
    await Promise.all(imgs.map(img => img.decode())) // a browser may have dropped what it had decoded long ago
    if (limit) await expose(limit, seen)
  }
  const [choice, ms] = limit ? await chooseAfter() : await chooseLooking(seen)
  const tenth = x => Math.round(10*Math.max(0, x))/10
  return {number: trial.number, choice, exposure_ms: tenth(seen.ms), response_ms: tenth(ms), shows: seen.shows, hidden: seen.hidden}
}

function pressed(button) { return new Promise(done => button.addEventListener('click', done, {once: true})) }

// Practice: say what was right, and show it again.
async function tell(choice, right, imgs) {
  const side = pairs ? sides[right === 'left' ? 0 : 1] : right
  $('ask').textContent = `${texts[choice === right ? 'yes' : 'no']} ${texts[`was_${side}`]}`
  if (pairs) imgs.forEach((img, i) => { const painted = i === (right === 'left' ? 0 : 1); img.classList.toggle('painted', painted); img.alt += `: ${texts[painted ? 'colorized' : 'true']}` })
  state('told')
  await pause(350) // the second half of a double click must not pass it by
  $('next').disabled = false
  $('next').focus({preventScroll: true})
  await pressed($('next'))
  $('next').disabled = true
}

// A card in the middle: nothing is shown before somebody says that they look.
async function card(title, text, button) {
  $('card-title').textContent = title
  $('card-text').textContent = text
  $('go').textContent = button
  state('card')
  $('go').focus({preventScroll: true})
  await pressed($('go'))
  away = false
  state('gone')
}

function place(plan, at) {
  const practice = at < plan.practice, n = practice ? at + 1 : at + 1 - plan.practice, of = practice ? plan.practice : plan.total - plan.practice
  $('where').textContent = say(practice ? 'place_practice' : 'place', {n, of})
  $('bar').value = at
  $('bar').max = plan.total
}

async function run() {
  const {status, data: plan} = await insist('plan')
  if (status !== 200) return location.replace('./')
  store.who = `study-${plan.who}-`
  const trials = new Map(plan.trials.map(t => [t.number, t])), kept = store.get('answer')
  let at = plan.done
  if (kept) at = Math.max(at, (await send(kept))?.done ?? 0)
  while (at < plan.total) {
    const trial = trials.get(at)
    for (let n = at; n < at + 3 && trials.has(n); n++) load(trials.get(n))
    place(plan, at)
    if (at === plan.practice && at) await card(texts.over_title, say('over_text', {n: plan.total - at}), texts.go_on)
    else if (away) await card(at ? texts.back_title : texts.ready_title, texts.ready_text, at ? texts.go_on : texts.start)
    const answer = await present(trial, plan.exposure_ms), reply = await send(answer)
    if (!reply) return location.reload()
    store.drop('seen')
    if (reply.right) await tell(answer.choice, reply.right, await load(trial))
    loading.delete(at)
    at = Math.max(at + 1, reply.done)
  }
  location.replace('thanks')
}

const KEYS = {ArrowLeft: 0, ArrowUp: 0, 1: 0, ArrowRight: 1, ArrowDown: 1, 2: 1}, buttons = [...document.querySelectorAll('#answers button')]
buttons.forEach(b => b.addEventListener('click', e => take?.(b.dataset.choice, e.timeStamp)))
addEventListener('keydown', e => {
  if (e.key === 'Enter' || e.key === ' ') {
    if (e.repeat) return e.preventDefault() // a key that is held down presses no button again
    const button = {card: $('go'), told: $('next')}[page.dataset.state]
    if (button && !document.activeElement.matches('button, a')) { e.preventDefault(); button.click() }
    return
  }
  if (!(e.key in KEYS) || e.ctrlKey || e.altKey || e.metaKey) return
  e.preventDefault()
  if (!e.repeat) take?.(buttons[KEYS[e.key]].dataset.choice, e.timeStamp)
})
addEventListener('pageshow', e => { if (e.persisted) location.reload() }) // back from the browser's memory: the server may know more
run()
