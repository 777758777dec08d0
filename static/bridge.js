// Bridge: sees that the Meta Pixel and the server tell of each event with the same id.
// Served as bridge.min.js, which scripts/minify makes of this. It finds its server by its own address.
//
// Strategy: every call of `fbq` goes through `take`, whoever made it and whoever loaded the pixel.
// There it waits until consent allows, gets an id, and leaves a copy for the server. So a page's own
// pixel, ours, and `bridge.track` behave alike. Hits that the pixel makes by itself are met where
// they leave: in `Image`.
//
// What the server says stands in cookies: `_bridge_x` (settings) and one `_bridge_t_…` for each
// server-born event whose browser copy is still to be fired. What the browser says goes to collect.
;(() => {
  /**
   * @typedef {'granted' | 'limited' | 'denied' | 'pending'} State
   * @typedef {{ x?: string, p?: string[], d?: string, c?: State }} Settings external id, pixel ids,
   *   domain of our cookies, consent (else granted)
   * @typedef {{ n: string, i: string, d?: Record<string, unknown> }} Twin name, id, custom data (if
   *   it fits a cookie, else the server has it)
   * @typedef {'sent' | 'blocked' | 'unknown'} Sighting
   * @typedef {{ event_name: string, event_id: string, custom_data: unknown, url: string,
   *   referrer: string, at: number, state?: Sighting }} QueuedEvent `at` in Unix ms
   * @typedef {{ event_name: string, event_id: string, state: Sighting }} Ack
   * @typedef {{ stored: string[], refused: { event_id: string }[] }} Answer
   * @typedef {any[]} Call the arguments of `fbq`
   * @typedef {{ url: string, referrer: string, at: number }} Moment when and where it happened
   * @typedef {[call: Call, ours: boolean, moment: Moment]} Held
   */

  // The server writes the configured address here; a cookie that named a script could be forged.
  const PIXEL_URL = 'https://connect.facebook.net/en_US/fbevents.js'
  const QUEUE_PREFIX = '_bridge.q.' // localStorage: one key an event, so tabs never overwrite
  const FIRED_KEY = '_bridge.fired'
  const MAX_FIRED = 50 // ids of twins that are remembered
  const MAX_QUEUED = 100 // events
  const MAX_QUEUED_AGE = 48 * 3600e3 // ms
  const MAX_BATCH = 20 // events of one request
  const MAX_REPORT = 20e3 // characters of one request; all in flight together may hold 64 KiB
  const CHOICE_MAX_AGE = 180 * 86400 // s
  const SIGHTING_TIMEOUT = 5e3 // ms until a hit nobody saw counts as unknown
  const FLUSH_DELAY = 50 // ms in which reports gather
  const RETRY_DELAY = 10e3 // ms
  const MAX_DELAY = 1e9 // ms; beyond 2^31 a timer fires at once
  // Characters of a hit for its custom data, the page's address and the referrer: with all the rest
  // it stays below 2048, where the pixel changes to a transport that dies on navigation.
  const HIT_ROOM = 800
  const MIN_DATA_ROOM = 60 // of these at least for data: value and currency
  const LEAN_KEYS = 'value currency content_ids content_type order_id'
  const VIEW = 'PageView'
  const HIT = /\/tr\/?\?/
  const LIBRARY = /\/fbevents\.js|\/signals\/config\//

  const element = /** @type {HTMLScriptElement | null} */ (document.currentScript)
  const page_ = /** @type {any} */ (window)
  if (!element || page_._bridge) return
  const base = new URL('.', element.src).href

  /** @type {Settings | undefined} */
  let settings
  /** @type {string[]} */
  let pixelIds = [] // ours
  let active = false // consent allows: nothing is fired, stored or sent before
  let paused = false // the page itself revoked consent with `fbq('consent', 'revoke')`
  let revoked = false // the pixel was told; a second revoke would wait behind the first
  let limited = false
  let blocked = false // the pixel cannot work on this page
  let loading = false
  const address = () => location.href.replace(/#.*/, '') // where the visitor is
  let view = address()
  let referrer = document.referrer
  const landing = view
  let viewId = '' // event id of this view's PageView
  let automaticId = '' // event id of the PageView that the pixel makes by itself just now
  /** @type {Held[]} */
  let held = [] // calls that wait until consent allows
  /** @type {string[]} */
  let fresh = [] // pixels that the page initialised since this view's PageView
  /** @type {Set<string>} */
  const initialised = new Set() // pixels of ours, by a call that may still wait
  /** @type {Map<string, QueuedEvent>} */
  const queued = new Map() // by their keys in localStorage
  let batch = MAX_BATCH
  /** @type {Map<string, string>} */
  const unseen = new Map() // events whose hit was not seen yet, with the name of a twin
  /** @type {Ack[]} */
  let acks = []
  let flushTimer = 0
  let flushing = false
  let resumeAt = 0 // Unix ms: no report before
  let choices = 0 // how often the visitor chose on this page: late answers do not count

  /**
   * For work that a browser may forbid, or that foreign text may make fail: then nothing is done.
   * @template T
   * @param {() => T} work
   * @returns {T | undefined}
   */
  const attempt = (work) => {
    try {
      return work()
    } catch {
      return undefined
    }
  }

  // 128 bits. Not randomUUID: plain http has none.
  const newId = () => crypto.getRandomValues(new Uint32Array(4)).join('-')

  /** @returns {Moment} */
  const now = () => ({ url: location.href, referrer, at: Date.now() })

  /**
   * Listen, ahead of the page's own listeners.
   * @param {EventTarget} target
   * @param {string} name
   * @param {(event: any) => void} work
   */
  const on = (target, name, work) => target.addEventListener(name, work, true)

  // --- reading what the server said ---

  /** @param {string} prefix @returns names and what stands in them, nothing if it is damaged */
  const readCookies = (prefix) =>
    document.cookie
      .split('; ')
      .filter((cookie) => cookie.startsWith(prefix))
      .map((cookie) => cookie.split('='))
      .map(([name, value]) => [
        name,
        attempt(() => JSON.parse(atob(/** @type {string} */ (value)))),
      ])

  // A Blob: fetch and sendBeacon both name its type.
  /** @param {unknown} value */
  const toBody = (value) => new Blob([JSON.stringify(value)], { type: 'application/json' })

  /** @param {string} path @param {Blob} [body] of a POST */
  const call = (path, body) =>
    fetch(base + path, {
      method: body && 'POST',
      cache: 'no-store',
      credentials: 'include',
      keepalive: true,
      body,
    })

  /** @param {string} path @param {Blob} [body] */
  const ask = async (path, body) => {
    const answer = await call(path, body)
    if (!answer.ok) throw answer
    return answer.json()
  }

  const readSettings = async () => {
    // The cookie may be older than the browser's wish for privacy.
    const wish = /** @type {any} */ (navigator).globalPrivacyControl
    const found = readCookies('_bridge_x').find(([, told]) => told && (told.c || !wish))
    // A server on another subdomain has not seen the click id of this page's address.
    return /** @type {Settings} */ (found ? found[1] : await ask('identity' + location.search))
  }

  // --- the pixel ---

  /** @param {...any} call */
  const intercept = (...call) => take(call)

  // Also where a blocker has put something that is no pixel.
  const own = !page_.fbq?.queue
  /** @type {any} */
  const pixel = own ? intercept : page_.fbq
  if (own) {
    page_.fbq = Object.assign(pixel, {
      push: pixel,
      loaded: true,
      version: '2.0',
      queue: [],
      // Our views carry ids; the pixel's own PageViews would not, and it drops all but the first.
      disablePushState: true,
      allowDuplicatePageViews: true,
    })
    page_._fbq = pixel // another would conflict
  }
  /** @type {((...call: Call) => void) | undefined} */
  let library // once it has loaded

  const states = () => /** @type {any[]} */ (pixel.getState?.().pixels || [])

  const hasSent = () => states().some((state) => state.eventCount)

  /** @param {Call} call @param {string} id */
  const isInitOf = ([method, of], id) => method === 'init' && String(of) === id

  /** @param {string} id */
  const stateOf = (id) => states().find((state) => state.id === id)

  /** @param {Call} call */
  const send = (call) => {
    if (blocked) return // else the queue would grow for nobody
    if (library) library.apply(pixel, call)
    else [].push.call(pixel.queue, /** @type {never} */ (call)) // its own push is ours
  }

  // Called again whenever a script has come. Once: another's wrapper around ours would go in circles.
  const wrap = () => {
    if (pixel.callMethod && !library) {
      delete pixel.queue.push
      library = pixel.callMethod
      pixel.callMethod = intercept
    }
  }

  const loadPixel = () => {
    if (!own || loading || !pixelIds.length) return
    loading = true
    const script = document.createElement('script')
    script.async = true
    script.src = PIXEL_URL
    document.head.append(script)
  }

  // Other states than 0 make the pixel drop the option without a word.
  const limit = () => {
    if (limited) send(['dataProcessingOptions', []])
    limited = settings?.c === 'limited'
    if (limited) send(['dataProcessingOptions', ['LDU'], 0, 0])
  }

  // What waits for the library or for a pixel's configuration is taken back: a grant behind a
  // waiting revoke would never be reached.
  const silence = () => {
    for (const call of pixel.queue.splice(0)) {
      if (call[3]?.eventID === viewId) viewId = ''
      if (call[0] !== 'consent') take([...call])
    }
    initialised.clear()
    if (!library || revoked || !states().length) return
    revoked = true
    library('consent', 'revoke')
  }

  const resume = () => {
    if (!revoked || !library) return
    revoked = false
    pixel.queue.length = 0 // what the pixel made by itself meanwhile
    library('consent', 'grant')
  }

  // --- calls of the pixel ---

  /**
   * Take one call of `fbq`, the page's or ours.
   * @param {Call} call
   * @param {boolean} [ours]
   * @param {Moment} [moment]
   */
  const take = (call, ours = false, moment = now()) => {
    const [method, id] = call
    const kind = /^track(Single)?(Custom)?$/.exec(method)
    if (method === 'consent') {
      paused = id === 'revoke'
      revoked ||= !paused
      if (settings) apply(settings)
    } else if (!active) {
      const isUnwanted = kind && settings?.c === 'denied'
      if (held.length < MAX_QUEUED && !isUnwanted) held.push([call, ours, moment])
    } else if (kind) {
      takeEvent(call, kind[1], ours, moment)
    } else if (method !== 'init' || takeInit(call, String(id))) {
      // Limited Data Use is the visitor's choice, not the page's.
      if (!limited || method !== 'dataProcessingOptions') send(call)
    }
  }

  /** @param {Call} call @param {string} id @returns whether the pixel shall have it */
  const takeInit = (call, id) => {
    if (pixelIds.includes(id)) {
      const waiting = pixel.queue.find((/** @type {Call} */ call) => isInitOf(call, id))
      const userData = typeof call[2] === 'object' ? { ...call[2] } : {}
      userData.external_id ||= settings?.x
      if (waiting) Object.assign(waiting[2], userData)
      if (initialised.has(id) || Object.keys(stateOf(id)?.userData || {})[0]) return false
      initialised.add(id)
      call[2] = userData
    }
    fresh.push(id)
    return true
  }

  /** @param {Call} call @param {string | undefined} single @param {boolean} ours @param {Moment} moment */
  const takeEvent = (call, single, ours, moment) => {
    const start = call.slice(0, single ? 3 : 2) // up to the name
    const name = start.at(-1)
    const [told, options] = call.slice(start.length)
    const data = Object(told) === told ? told : {}
    const given = options?.eventID ?? options?.event_id
    // Of another's pixel, or nothing that the pixel takes for an event or an id.
    const isForeign = single && !pixelIds.includes(String(call[1]))
    if (isForeign || typeof name !== 'string' || Object(given) === given) return send(call)
    const isView = name === VIEW && (own || !single)
    if (isView && !ours && (own || !pixel.allowDuplicatePageViews)) {
      // The pixel sent one or not: what goes out gets its id in `stamp`.
      if (isLate) return send(call)
      if (viewId) return single || sendFresh(data)
    }
    const id = String(given || newId())
    if (isView) {
      viewId = id
      fresh = []
    }
    record(name, id, data, moment)
    const rest = [lean(data), { ...options, eventID: id }]
    // A page's pixel would drop a second PageView.
    if (isView && !own && ours) pixelIds.forEach((one) => send(['trackSingle', one, name, ...rest]))
    else send([...start, ...rest])
  }

  /** @param {unknown} data Of a view that the other pixels know already. */
  const sendFresh = (data) =>
    fresh.splice(0).forEach((id) => send(['trackSingle', id, VIEW, data, { eventID: viewId }]))

  /**
   * Keep what fits one hit, the most useful first; the server copy carries everything.
   * @param {any} data
   */
  const lean = (data) => {
    /** @type {Record<string, unknown>} */
    const kept = {}
    const taken = encodeURIComponent(location.href + referrer).length
    let room = Math.max(HIT_ROOM - taken, MIN_DATA_ROOM)
    for (const key of new Set([...LEAN_KEYS.split(' '), ...Object.keys(data)])) {
      const length = attempt(
        () => encodeURIComponent(`&cd[${key}]=${JSON.stringify(data[key])}`).length,
      )
      // Without a length it is no JSON: neither copy could carry it.
      if (data[key] == null || !length || length > room) continue
      kept[key] = data[key]
      room -= length
    }
    return kept
  }

  // --- twins of server-born events ---

  /** @param {string} key @returns whether this browser fired it before */
  const isKnown = (key) =>
    attempt(() => {
      // Without storage, deleting the cookie is guard enough but for two tabs at once.
      const fired = /** @type {string[]} */ (JSON.parse(localStorage[FIRED_KEY] || '[]'))
      const isKnown = fired.includes(key)
      if (!isKnown) localStorage[FIRED_KEY] = JSON.stringify([key, ...fired].slice(0, MAX_FIRED))
      return isKnown
    })

  const takeTwins = () => {
    if (!active) return
    for (const [name, twin] of readCookies('_bridge_t_')) {
      setCookie(name, '', 0)
      if (!twin || isKnown(`${twin.n} ${twin.i}`)) continue
      if (twin.d) fireTwin(twin)
      else ask('twin?' + new URLSearchParams(twin)).then(fireTwin, () => {}) // the server's alone
    }
  }

  // One tab at a time, where the browser can tell: two must not read the same cookie.
  const fireTwins = () => {
    heed()
    // A sandboxed frame may not even look at its cookies; it never becomes active.
    if (!active || !document.cookie.includes('_bridge_t_')) return
    if (navigator.locks) navigator.locks.request('_bridge', takeTwins)
    else takeTwins()
  }

  /** @param {Twin} twin */
  const fireTwin = ({ n, i, d }) => {
    if (!active) return
    watch(i, n)
    send(['trackCustom', n, lean(d), { eventID: i }])
  }

  // --- did it go out? ---

  // Meta merges on external id and fbp only if the browser copy came first. So the server is told
  // of an event (or that a twin was fired) only once its hit was seen, or is known not to come.
  /** @param {string} id @param {string} twin its name */
  const watch = (id, twin) => {
    unseen.set(id, twin)
    if (blocked) settle(id, 'blocked')
    setTimeout(() => {
      // Nobody heard the error of a library that failed before this script came.
      if (!library && performance.getEntries().some(({ name }) => isLibrary(name))) block()
      // Events that were never built wait for a configuration that will not come.
      settle(id, library && !hasSent() ? 'blocked' : 'unknown')
    }, SIGHTING_TIMEOUT)
  }

  /** @param {string} id @param {Sighting} state */
  const settle = (id, state) => {
    const twin = unseen.get(id)
    if (!unseen.delete(id)) return
    if (twin) acks.push({ event_name: twin, event_id: id, state })
    queued.forEach((event) => event.event_id === id && (event.state = state))
    scheduleFlush(FLUSH_DELAY)
  }

  /** @param {Sighting} state */
  const settleAll = (state) => unseen.forEach((_, id) => settle(id, state))

  const block = () => {
    blocked = true
    // A blocker's empty function would swallow the page's calls; a pixel that works is left alone.
    if (!page_.fbq?.callMethod) page_.fbq = pixel
    pixel.queue.length = 0
    settleAll('blocked')
  }

  /** @param {any} url */
  const isLibrary = (url) => url === PIXEL_URL || LIBRARY.test(url)

  /** @param {URLSearchParams} hit */
  const idOf = (hit) => hit.get('eid') || ''

  /**
   * Look at a hit on its way, and give an id to a PageView of the pixel's own making: a return from
   * the back/forward cache, or any navigation if the page's pixel was there before us.
   * @param {HTMLImageElement} image
   * @param {string} url
   */
  const stamp = (image, url) => {
    if (!HIT.test(url)) return url
    const hit = new URL(url).searchParams
    let id = idOf(hit)
    if (!id && active && hit.get('ev') === VIEW && pixelIds.includes(hit.get('id') || '')) {
      if (!automaticId) {
        automaticId = newId()
        record(VIEW, automaticId, {}, now())
        setTimeout(() => (automaticId = '')) // the hits of all pixels are made in one task
      }
      id = automaticId
      url += '&eid=' + id
    }
    if (unseen.has(id)) {
      on(image, 'load', () => settle(id, 'sent'))
      // Blocked, or answered with something that is no image: a probe tells.
      on(image, 'error', () =>
        fetch(/** @type {string} */ (url.split('?')[0]), {
          mode: 'no-cors',
          credentials: 'omit',
        }).then(
          () => settle(id, 'sent'),
          () => settle(id, 'blocked'),
        ),
      )
    }
    return url
  }

  const watchHits = () => {
    page_.Image = new Proxy(page_.Image, {
      construct(...made) {
        const image = Reflect.construct(...made)
        // In the way only until the first use.
        Object.defineProperty(image, 'src', {
          configurable: true,
          get: () => delete image.src && image.src,
          set(url) {
            delete image.src
            image.src = attempt(() => stamp(image, url)) || url
          },
        })
        return image
      },
    })
    on(document, 'error', ({ target }) => isLibrary(target.src) && block())
    on(document, 'load', ({ target }) => {
      wrap() // the library may have another name, from the page's own server
      if (!library && isLibrary(target.src)) block()
    })
    on(document, 'securitypolicyviolation', ({ disposition, blockedURI }) => {
      if (disposition !== 'enforce') return
      if (isLibrary(blockedURI)) block()
      else attempt(() => settle(idOf(new URL(blockedURI).searchParams), 'blocked'))
    })
  }

  // Any request of the page may have brought a new twin. Nothing of the page is patched for it.
  const watchRequests = () => new PerformanceObserver(fireTwins).observe({ type: 'resource' })

  // --- events born here ---

  /** @param {string} name @param {string} id @param {unknown} data @param {Moment} moment */
  const record = (name, id, data, moment) => {
    /** @type {QueuedEvent} */
    const event = {
      event_name: name,
      event_id: id,
      custom_data: data,
      ...moment,
    }
    const key = QUEUE_PREFIX + name + id // pages give one id to several events
    attempt(() => {
      const text = JSON.stringify(event)
      if (queued.size >= MAX_QUEUED || text.length > MAX_REPORT) return
      queued.set(key, event)
      localStorage[key] = text // else kept for the life of this page
    })
    watch(id, '')
  }

  /**
   * @param {string} name
   * @param {Record<string, unknown>} [properties] Meta's custom data
   * @param {{ eventID?: string }} [options]
   * @returns the event id of both copies
   */
  const track = (name, properties, options) => {
    const id = String(options?.eventID || newId())
    heed()
    take(['trackCustom', name, properties, { eventID: id }], true)
    return id
  }

  const page = () => track(VIEW)

  // --- the way to the server ---

  /** @param {number} delay ms */
  const scheduleFlush = (delay) => {
    clearTimeout(flushTimer)
    flushTimer = setTimeout(flush, Math.max(delay, resumeAt - Date.now()))
  }

  /** @param {string} prefix */
  const listKeys = (prefix) => Object.keys(localStorage).filter((key) => key.startsWith(prefix))

  // What earlier pages could not send. Damaged, old and surplus entries are removed.
  const recall = () =>
    attempt(() => {
      for (const key of listKeys(QUEUE_PREFIX)) {
        if (queued.has(key)) continue
        const event = attempt(() => /** @type {QueuedEvent} */ (JSON.parse(localStorage[key])))
        const isFit = event && Date.now() - event.at < MAX_QUEUED_AGE && queued.size < MAX_QUEUED
        if (isFit) queued.set(key, event)
        else delete localStorage[key]
      }
    })

  // What to tell of now: events whose hits were seen, or given up, and acknowledgements.
  const pick = () => {
    const sent = []
    let room = MAX_REPORT
    for (const entry of queued) {
      if (unseen.has(entry[1].event_id)) continue
      room -= JSON.stringify(entry).length
      if (sent[0] && (room < 0 || sent.length >= batch)) break
      sent.push(entry)
    }
    const told = acks.splice(0, MAX_BATCH)
    const body = toBody({
      events: sent.map(([, { at, ...event }]) => ({
        ...event,
        age_ms: Date.now() - at,
      })),
      acks: told,
    })
    return { sent, told, body: (sent[0] || told[0]) && body }
  }

  const flush = async () => {
    if (flushing || !active) return
    const { sent, told, body } = pick()
    if (!body) return
    flushing = true
    let delay = RETRY_DELAY
    /** @type {string[]} */
    let listed = []
    try {
      const answer = await call('collect', body)
      if (answer.ok) {
        const { stored, refused } = /** @type {Answer} */ (await answer.json())
        if (refused[0]) console.warn(refused)
        listed = [...stored, ...refused.map((each) => each.event_id)]
        if (told.splice(0)[0] || listed[0]) delay = 0
      } else
        delay =
          Math.min(+(/** @type {string} */ (answer.headers.get('retry-after'))) * 1e3, MAX_DELAY) ||
          delay
    } catch {
      // offline, or the page is leaving: the next one sends
    }
    // An event that is never taken must not hold up the others: it comes last, and alone.
    if (delay) batch = 1
    for (const [key, event] of sent) {
      if (queued.delete(key) && !listed.includes(event.event_id)) queued.set(key, event)
      else attempt(() => delete localStorage[key])
    }
    acks.push(...told)
    flushing = false
    resumeAt = Date.now() + delay
    scheduleFlush(0)
  }

  const leave = () => {
    settleAll('unknown')
    const body = active && pick().body
    if (body) navigator.sendBeacon(base + 'collect', body) // survives the page in every browser
  }

  // --- views ---

  const changed = () => {
    const seen = view
    view = address()
    if (seen === view) return
    referrer = seen
    if (!own && !blocked) return // the page's pixel sees it itself
    viewId = ''
    if (active) page()
  }

  const watchViews = () => {
    for (const name of /** @type {const} */ (['pushState', 'replaceState'])) {
      const original = history[name]
      history[name] = function (...args) {
        original.apply(this, args)
        changed()
      }
    }
    on(window, 'popstate', changed)
    on(window, 'pageshow', fireTwins)
    on(window, 'pagehide', leave)
    on(window, 'online', () => scheduleFlush((resumeAt = 0)))
    on(document, 'visibilitychange', () => (document.hidden ? leave() : fireTwins()))
  }

  // --- consent ---

  /** @param {Settings} found */
  const apply = (found) => {
    settings = found
    pixelIds = /** @type {string[]} */ ([found.p].flat()).filter((id) => /^\d+$/.test(id))
    active = !paused && found.c !== 'denied' && found.c !== 'pending'
    if (!active) {
      silence()
      if (found.c === 'denied') stop()
      return
    }
    resume()
    attempt(loadPixel) // Trusted Types may forbid it
    limit()
    const isStranger = isLate && !pixelIds.some(stateOf)
    // The pixel keeps the first user data it is given: a page's own init has more to say.
    for (const id of pixelIds) {
      if (!held.some(([call]) => isInitOf(call, id))) take(['init', id])
    }
    recall()
    held.splice(0).forEach((call) => take(...call))
    if ((own || isStranger) && !viewId) page()
    fireTwins()
    scheduleFlush(0)
  }

  const stop = () => {
    held = held.filter(([[method, name]]) => !/^track/.test(method) || name === VIEW)
    acks = []
    unseen.clear()
    queued.clear()
    attempt(() => listKeys('_bridge.').forEach((key) => delete localStorage[key]))
  }

  /**
   * @param {'grant' | 'limit' | 'deny' | 'granted' | 'limited' | 'denied'} [word]
   * @returns what holds now, for both halves
   */
  const consent = async (word) => {
    const place = 'grant granted limit limited deny denied'.split(' ').indexOf(word || '')
    const state = /** @type {const} */ (['granted', 'limited', 'denied'])[place >> 1]
    if (word && !state) throw Error(word)
    const mine = state ? ++choices : choices
    if (state) setCookie('_bridge_c', '', 0) // a refusal may lie on another domain than the answer's
    if (state === 'denied') refuse()
    await known
    if (state) {
      const found = await ask('consent', toBody({ state, url: landing })).catch(() => {})
      if (found && mine === choices) apply(found)
    }
    return settings?.c || 'granted'
  }

  /** @param {string} name @param {string} value @param {number} maxAge seconds */
  const setCookie = (name, value, maxAge) => {
    const domain = settings?.d ? `; Domain=.${settings.d}` : ''
    document.cookie = `${name}=${value}; Max-Age=${maxAge}; Path=/; SameSite=Lax${domain}`
  }

  // At once, whatever becomes of the request that tells the server.
  const refuse = () => {
    setCookie('_bridge_c', 'denied', CHOICE_MAX_AGE)
    setCookie('_bridge_x', '', 0)
    deny()
  }

  const deny = () => apply({ c: 'denied', d: settings?.d })

  // Another tab, or a page after this one, may have refused meanwhile.
  const heed = () => {
    if (active && /\b_bridge_c=denied\b/.test(document.cookie)) deny()
  }

  // --- start ---

  wrap()
  // What went out before this script came cannot be given an id any more.
  const isLate = hasSent()
  const waiting = pixel.queue.splice(0)
  // A loaded library leaves an init waiting only if the page revoked consent before.
  paused = revoked =
    !!library && !states().length && waiting.some((/** @type {Call} */ call) => call[0] === 'init')
  waiting.forEach((/** @type {Call} */ call) => take([...call]))
  if (!library) pixel.queue.push = (/** @type {any} */ call) => take([...call])
  watchHits()
  watchRequests()
  watchViews()

  const learn = async () => {
    const found = await readSettings().catch(() => void setTimeout(learn, RETRY_DELAY))
    // A refusal may have come first. Without an answer nothing is known to be allowed.
    if (found && !settings) apply(found)
  }

  const prerendered = /** @type {any} */ (document).prerendering
  const known = prerendered
    ? new Promise((shown) => on(document, 'prerenderingchange', shown)).then(learn)
    : learn()

  const before = page_.bridge
  const api = {
    track,
    page,
    consent,
    identity: () => (settings?.x ? { external_id: settings.x } : null),
    /** @param {[string, any?, any?, any?]} call */
    push: ([name, ...args]) => /** @type {any} */ (api)[name]?.(...args),
  }
  page_._bridge = api
  // Something of the page's own may have the name; an element's id gives it too.
  if (!before || before.push || before.id) page_.bridge = api
  attempt(() => before.forEach((/** @type {any} */ call) => attempt(() => api.push(call))))
})()
