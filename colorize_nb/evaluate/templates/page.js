// Puts the slider of `colorizer.compare` under each strip, with the images that are on the page already.
document.documentElement.className = 'js'

const element = (tag, properties, ...children) => {
  const e = Object.assign(document.createElement(tag), properties)
  e.append(...children)
  return e
}

function build(details) {
  if (!details.open || details.querySelector('.cnb-s')) return
  const images = [...details.parentNode.querySelectorAll('.strip img')]
  const chosen = [0, Math.min(1, images.length - 1)] // left and right
  details.insertAdjacentHTML('beforeend', SLIDER)
  const slider = details.querySelector('.cnb-s'), range = slider.querySelector('input')
  const shown = [...slider.querySelectorAll('img')], labels = [...slider.querySelectorAll('figcaption span')]
  const [width, height] = ['width', 'height'].map(k => +images[0].getAttribute(k))
  slider.style.width = 34*Math.min(1, width/height) + 'rem'

  const show = () => {
    shown.forEach((o, k) => {
      const source = images[chosen[k]]
      for (const name of ['src', 'alt', 'width', 'height']) o.setAttribute(name, source.getAttribute(name))
    })
    const [left, right] = chosen.map(i => images[i].dataset.name)
    range.dataset.before = left
    range.setAttribute('aria-label', left + ' at the left, ' + right + ' at the right: where they meet')
    range.dispatchEvent(new Event('input'))
  }
  labels.forEach((label, k) => {
    const options = images.map((o, i) => element('option', {value: i, textContent: o.dataset.name, selected: i === chosen[k]}))
    const menu = element('select', {title: ['left', 'right'][k] + ' picture'}, ...options)
    menu.onchange = () => { chosen[k] = +menu.value; show() }
    label.replaceChildren(menu)
  })
  show()
}

document.querySelectorAll('.slide').forEach(d => { d.ontoggle = () => build(d); build(d) })
