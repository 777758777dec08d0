/** What a page repeats while somebody looks at it. */
import { find } from './elements.js'

/**
 * Return what does `work`, one at a time: asked for meanwhile, it is done once more afterwards.
 * @param {() => Promise<void>} work
 * @param {(error?: unknown) => void} tell called after each time, with the error if it failed
 */
export function keepFresh(work, tell) {
  let isWorking = false
  let isStale = false
  return async function () {
    isStale = true
    if (isWorking) return
    isWorking = true
    while (isStale) {
      isStale = false
      await work().then(() => tell(), tell)
    }
    isWorking = false
  }
}

/** @param {boolean} isLive whether the server answers */
export function showLive(isLive) {
  const live = find('live')
  live.textContent = isLive ? 'live' : 'not connected'
  live.classList.toggle('on', isLive)
}

/** Have the button "words" open the words that the page explains. */
export function explainWords() {
  find('words-show').addEventListener('click', function () {
    const words = /** @type {HTMLDetailsElement} */ (find('words'))
    words.open = true
    words.scrollIntoView()
    words.querySelector('summary')?.focus()
  })
}
