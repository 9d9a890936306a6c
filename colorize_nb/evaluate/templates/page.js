// Builds a slider under each strip, out of the images that are on the page already.
document.documentElement.className = 'js'

const element = (tag, properties, ...children) => {
  const e = Object.assign(document.createElement(tag), properties)
  e.append(...children)
  return e
}

function build(details) {
  if (!details.open || details.querySelector('.stage')) return
  const images = [...details.parentNode.querySelectorAll('.strip img')]
  const chosen = [0, Math.min(1, images.length - 1)] // left and right
  const shown = chosen.map(() => element('img', {alt: '', draggable: false}))
  const range = element('input', {type: 'range', min: 0, max: 100, step: 1, value: 50, title: 'where the two pictures meet'})
  const stage = element('div', {className: 'stage'}, ...shown, element('i', {}))
  const [width, height] = ['width', 'height'].map(k => +images[0].getAttribute(k))
  stage.style.width = 34*Math.min(1, width/height) + 'rem'

  const show = () => {
    stage.style.setProperty('--p', range.value + '%')
    range.setAttribute('aria-valuetext', range.value + ' % ' + images[chosen[0]].dataset.name)
    shown.forEach((o, k) => {
      const source = images[chosen[k]]
      if (o.src !== source.src) { o.src = source.src; o.alt = source.alt }
    })
  }
  const select = ['left', 'right'].map((side, k) => {
    const options = images.map((o, i) => element('option', {value: i, textContent: o.dataset.name, selected: i === chosen[k]}))
    const s = element('select', {title: side + ' picture'}, ...options)
    s.onchange = () => { chosen[k] = +s.value; show() }
    return s
  })
  const move = event => {
    const r = stage.getBoundingClientRect()
    range.value = 100*(event.clientX - r.left)/r.width
    show()
  }
  stage.onpointerdown = event => { stage.setPointerCapture(event.pointerId); move(event) }
  stage.onpointermove = event => { if (event.buttons) move(event) }
  range.oninput = show
  details.append(stage, element('div', {className: 'pick'}, select[0], range, select[1]))
  show()
}

document.querySelectorAll('.slide').forEach(d => { d.ontoggle = () => build(d); build(d) })
