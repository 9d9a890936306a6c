// Films: a frame is chosen, its shot is played in colour, the whole film is saved.
import {$, ask, asJson, complain, current, fetchFile, keepFocus, lookOf, pathOf, rest, seeFrame, settled,
        tell} from './app.js'
import {text} from './texts.js'

let shotUrl = null // of the shot that was played last

const clock = seconds => {
  const s = Math.round(seconds), two = n => String(n).padStart(2, '0')
  const [h, m] = [Math.floor(s/3600), Math.floor(s/60) % 60]
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`
}
const goesOn = job => Boolean(job) && !job.ended

export const showFilm = p => keepFocus(() => showParts(p))

function showParts(p) { // what belongs to a film, and how far the work on it is
  for (const id of ['film', 'steady-row']) $(id).hidden = !p.film
  for (const id of ['layers', 'layers-about']) $(id).hidden = Boolean(p.film)
  $('download').textContent = text(p.film ? 'saveFilm' : 'download')
  $('film-job').hidden = !p.film || !goesOn(p.film.saving) && !goesOn(p.film.reading)
  $('download').setAttribute('aria-disabled', Boolean(p.film) && (Boolean(p.asking) || goesOn(p.film.saving)))
  if (!p.film) return
  const {frames, cuts, fps, reading, saving} = p.film
  $('frame-at').max = frames - 1
  $('frame-at').value = p.frame
  const value = text('frameValue', {n: p.frame, of: frames - 1, time: clock(p.frame/fps)})
  $('frame-value').textContent = value
  $('frame-at').setAttribute('aria-valuetext', value)
  $('shot-before').disabled = p.frame === 0
  $('shot-after').disabled = !cuts.some(c => c > p.frame)
  const job = goesOn(saving) ? saving : reading
  $('film-stop').hidden = job !== saving
  if (!goesOn(job)) return
  const {done, total, left} = job
  const key = job !== saving ? 'filmReading' : left === null ? 'filmSaving' : 'filmLeft'
  $('film-text').textContent = text(key, {done, total, time: left === null ? '' : clock(left)})
  $('film-bar').max = Math.max(total, done, 1)
  $('film-bar').value = done
}

function update(p, film) {
  const before = p.film
  p.film = film
  if (p === current) showFilm(p)
  if (goesOn(before.reading) && film.reading.error) complain(film.reading.error)
  if (!p.wanted || goesOn(film.saving)) return
  p.wanted = false
  const {error, stopped, now, notes} = film.saving
  if (error) { tell(); complain(error) }
  else if (stopped) tell('filmStopped')
  else if (now) {
    fetchFile(pathOf(p, '/file'))
    tell('made', p)
    if (notes.length) complain(notes.join(' '))
  }
}

export async function poll(p) { // until nothing goes on with it
  if (p.polling) return
  p.polling = true
  p.wanted ||= goesOn(p.film.saving) // asked for before the page was loaded anew
  try {
    while (goesOn(p.film.reading) || goesOn(p.film.saving) || p.wanted) {
      update(p, await (await ask(pathOf(p, '/film'))).json())
      await new Promise(done => setTimeout(done, 400))
    }
  } catch (e) { if (e.status !== 404) complain(e.message) } // it was removed
  p.polling = false
}

export async function saveFilm(p) {
  if (p.asking || goesOn(p.film.saving)) return
  p.asking = true
  showFilm(p)
  complain()
  try {
    await settled()
    p.film = await (await ask(pathOf(p, '/file'), {method: 'POST'})).json()
    p.wanted = true // to be fetched when it is there
    poll(p)
  } catch (e) { complain(e.message) }
  p.asking = false
  if (p === current) showFilm(p)
}

async function stopFilm() {
  const p = current
  try {
    p.film = await (await ask(pathOf(p, '/film'), {method: 'DELETE'})).json()
    p.wanted = true // so that its end is told
    poll(p)
  } catch (e) { complain(e.message) }
}

export function backToFrame() {
  if ($('shot').hidden) return
  $('shot').hidden = true
  $('shot').pause()
  $('stage').hidden = false
  $('play-shot').textContent = text('playShot')
}

async function playShot() {
  if (!$('shot').hidden) return backToFrame()
  const p = current, frame = p.frame, wake = rest('play-shot')
  complain()
  try {
    await settled()
    tell('coloringShot')
    const settings = JSON.stringify(p.settings)
    const reply = await ask(lookOf(p, '/shot'), asJson(p.settings))
    if (shotUrl) URL.revokeObjectURL(shotUrl)
    shotUrl = URL.createObjectURL(await reply.blob())
    if (p === current && frame === p.frame && settings === JSON.stringify(p.settings)) {
      $('shot').src = shotUrl
      $('shot').hidden = false
      $('stage').hidden = true
      $('play-shot').textContent = text('backToFrame')
      $('shot').play().catch(() => {}) // a browser may want a click first
    }
  } catch (e) { complain(e.message) }
  tell()
  wake()
}

export function watchFilm() {
  let waiting = null
  $('frame-at').addEventListener('input', () => { // many frames are passed: the one that is stayed at is shown
    clearTimeout(waiting)
    waiting = setTimeout(() => seeFrame(+$('frame-at').value), 60)
  })
  $('shot-before').addEventListener('click', () => {
    seeFrame(current.film.cuts.findLast(c => c < current.frame) ?? 0)
  })
  $('shot-after').addEventListener('click', () => seeFrame(current.film.cuts.find(c => c > current.frame)))
  $('play-shot').addEventListener('click', playShot)
  $('film-stop').addEventListener('click', stopFilm)
}
