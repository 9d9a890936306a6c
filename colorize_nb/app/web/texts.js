// Every sentence of the page. A language is one more object here; what it lacks is taken from English.
// What is in braces is filled in.
export const TEXTS = {
  en: {
    title: 'Colour old photographs',
    choose: 'Choose pictures',
    camera: 'Take a picture',
    downloadAll: 'Download all (zip)',
    clear: 'Remove all',
    clearAsk: 'Remove all pictures and their corrections?',
    welcome: 'Drop photographs here, choose them, or paste one.',
    stays: 'They stay on the machine that this program runs on, in a temporary folder that is deleted when it ends.',
    drop: 'Drop the pictures here',
    slider: 'Original and colours',
    sliderValue: '{percent} % original',
    stageHelp: 'Click where a colour is wrong. With the keyboard: arrow keys move a cross, Enter sets a colour there.',
    stage: '{name}, coloured',
    force: 'This picture has colours already. Colour it anew.',
    pointTitle: 'Colour of this place',
    swatch: 'Colour {color}, {share} % likely',
    ownColor: 'Another colour',
    reference: 'From another picture',
    referenceHelp: 'Click the colour in this picture, or move with the arrow keys and press Enter.',
    referenceFailed: 'This browser cannot show that picture: choose a JPEG or PNG.',
    take: 'Take this colour',
    done: 'Done',
    removePoint: 'Remove this colour',
    hint: 'Colour {color} at {x}, {y}. Arrow keys move it, Delete removes it, Enter changes it.',
    hintsOn: 'Click on the picture where a colour is wrong, and choose the right one. Drag a point to move it.',
    hintsOff: 'The model {model} takes no colours set by hand. The other settings work.',
    undo: 'Undo',
    redo: 'Redo',
    reset: 'As predicted',
    vivid: 'Vividness',
    vividNone: 'not with this model',
    saturation: 'Saturation',
    size: 'Working size',
    sizeOwn: 'as the model likes it ({size})',
    model: 'Model',
    download: 'Download',
    forAll: 'Use these settings for all',
    forAllDone: 'All pictures have these settings now.',
    remove: 'Remove picture',
    keysTitle: 'Keys',
    keys: 'Ctrl+Z takes back, Ctrl+Shift+Z does it again. Page up and Page down go to the picture before and after. '
      + 'On the picture: arrow keys and Enter set a colour; on a point: arrow keys move it, Delete removes it. '
      + 'Escape closes the colours of a point.',
    list: 'Pictures',
    about: '{width} × {height} pixels, {bits} bits',
    aboutPages: '{width} × {height} pixels, {bits} bits, {pages} pages',
    waiting: 'waiting',
    loading: 'loading',
    uploading: 'Loading {n} of {of}: {name}',
    uploaded: '{n} pictures are ready.',
    uploadedOne: '{name} is ready.',
    coloring: 'Colouring …',
    ready: '',
    making: 'Making the full-size picture …',
    makingAll: 'Making {n} of {of}: {name}',
    made: '{name} is ready.',
    failed: '{name}: {error}',
    dismiss: '{error} (press to take it off the list)',
    offline: 'The program does not answer. Is it still running?',
    unexpected: 'Something went wrong in the program ({status}). Its window says more.',
    over: 'The last session is over, and its pictures are deleted.',
  },
}

const wanted = (navigator.languages || ['en']).map(l => l.slice(0, 2)).find(l => l in TEXTS) || 'en'
export const language = wanted
const all = {...TEXTS.en, ...TEXTS[wanted]}
export function text(key, values = {}) {
  return all[key].replace(/{(\w+)}/g, (_, k) => values[k] ?? '')
}
