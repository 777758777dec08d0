/**
 * The shop's own script.
 *
 * It reports to Bridge what the visitor does in the page, through a queue that works before and after
 * bridge.js has loaded. What happens on the server is reported there, and needs no code here.
 */

const SHOWN = 4000 // ms that a message stays

window.bridge = window.bridge || []

/** Events of the page itself: ViewContent, InitiateCheckout. */
for (const element of document.querySelectorAll('[data-track]')) {
  const { track, properties } = element.dataset
  window.bridge.push(['track', track, JSON.parse(properties)])
}

/** The product page's form is sent as usual; AddToCart is reported as it leaves. */
const addForm = document.querySelector('#add-to-cart')
addForm?.addEventListener('submit', () => {
  const quantity = Number(addForm.elements.quantity.value)
  const { contents, ...properties } = JSON.parse(addForm.dataset.properties)
  properties.value = Number((properties.value * quantity).toFixed(2))
  properties.contents = contents.map((item) => ({ ...item, quantity }))
  window.bridge.push(['track', 'AddToCart', properties])
})

/** "Add" buttons: the server reports AddToCart, and the script fires the browser's copy. */
let lastAdd = Promise.resolve()
for (const form of document.querySelectorAll('.quick-add')) {
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    // One after the other: the cart lives in a cookie, and the last answer's cookie wins.
    lastAdd = lastAdd.then(() => quickAdd(form))
  })
}

async function quickAdd(form) {
  const button = form.querySelector('button')
  const { productName } = form.dataset
  try {
    const response = await fetch(form.action, {
      method: 'POST',
      headers: { Accept: 'application/json' },
      body: new FormData(form),
    })
    if (!response.ok) throw new Error(`the shop answered ${response.status}`)
    showCartCount((await response.json()).count)
    say(`${productName} is in your cart`)
    button.textContent = 'Added'
  } catch (error) {
    console.warn('quick add:', error)
    say(`${productName} could not be added, please try again`)
    button.textContent = 'Try again'
  }
  setTimeout(() => (button.textContent = 'Add'), SHOWN)
}

/** The visitor's choice. Where bridge.js is not there (yet), the form tells the server instead. */
const consent = document.querySelector('#consent')
consent.addEventListener('submit', async (event) => {
  if (!window.bridge.consent) return
  event.preventDefault()
  await window.bridge.consent(event.submitter.value)
  consent.hidden = true
  say('Noted. You may change your mind at any time')
})
document.querySelector('#privacy').addEventListener('click', (event) => {
  event.preventDefault()
  consent.hidden = false
  consent.querySelector('button').focus()
})

function showCartCount(count) {
  const badge = document.querySelector('#cart-count')
  badge.textContent = count
  badge.hidden = count === 0
}

let hiding = 0
function say(text) {
  const status = document.querySelector('#status')
  status.textContent = text
  clearTimeout(hiding)
  hiding = setTimeout(() => (status.textContent = ''), SHOWN)
}
