// The form that asks for the token: its words, in the reader's language; without this script they are English.
import {text, language} from './texts.js'

document.documentElement.lang = language
for (const e of document.querySelectorAll('[data-text]')) e.textContent = text(e.dataset.text)
