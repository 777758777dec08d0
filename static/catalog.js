// Segment's event names and properties → Meta's, by the server's table (bridge/events/catalog.py).
// Served in front of bridge.js, in the same file, for apps that use Segment's names. So the pixel
// gets the same name and parameters as the server copy.
;(() => {
  /**
   * @typedef {Record<string, any>} Properties
   * @typedef {[names: string[], meta: string, value: string[], lines: 0 | 1 | 2,
   *   rename: Record<string, string>, counts: 0 | 1]} Row lines: 0 no
   *   products, 1 the event itself is one, 2 a list of products
   * @typedef {{ rows: Row[], ids: string[], lines: 0 | 1 }} Table
   */

  /** @type {Table} */
  // @ts-expect-error: the server writes the table here
  const table = __BRIDGE_CATALOG__
  const page = /** @type {any} */ (window)
  if (page._bridge) return

  // What belongs to the event itself, as in bridge/events/standard.py.
  const ENVELOPE =
    /^(action_source|client_(ip|us).*|(custom|user)_data|data_proc.*|event_(id|name|source_url|time)|external_id|fb[cp]|opt_out|referrer_url|test_event_code)$/
  const AMOUNTS = ['value', 'net_revenue', 'predicted_ltv', 'revenue', 'total', 'price']
  const COUNTS = ['num_items', 'quantity']

  /** @param {unknown} value */
  const isGiven = (value) => value != null && value !== ''

  // As the server reads amounts, except for formats that only it can know. Other text is left out.
  /** @param {unknown} value */
  const readAmount = (value) => {
    if (typeof value !== 'string') return value
    const text = value.trim().replace(/^[^\d.,\s-]{1,4}\s*|\s*[^\d.,\s-]{1,4}$/g, '')
    const isPlain = /^\d+(\.\d+)?$/.test(text) && !/^[1-9]\d{0,2}\.\d{3}$/.test(text)
    if (isPlain) return +text
    if (/^\d{1,3}(,\d{3})+\.\d+$|^\d{1,3}(,\d{3}){2,}$/.test(text)) return +text.replace(/,/g, '')
    return undefined
  }

  /** @param {Properties} properties @param {string[]} amounts */
  const readNumbers = (properties, amounts) => {
    for (const key of amounts) if (key in properties) properties[key] = readAmount(properties[key])
    for (const key of COUNTS)
      if (/^\d{1,9}$/.test(properties[key])) properties[key] = +properties[key]
  }

  /** @param {Properties} product loses the keys of its line */
  const takeLine = (product) => {
    /** @type {Properties} */
    const line = {}
    const key = table.ids.find((each) => isGiven(product[each]))
    if (key) line.id = String(product[key])
    line.quantity = product.quantity ?? 1
    if (product.price != null) line.item_price = product.price
    if (product.delivery_category != null) line.delivery_category = product.delivery_category
    for (const each of [key || '', 'quantity', 'price', 'delivery_category']) delete product[each]
    return line
  }

  /** @param {Row} row @param {Properties} rest @returns {Properties[] | undefined} */
  const takeContents = ([, meta, , lines], rest) => {
    if (!lines || 'contents' in rest || 'content_ids' in rest) return
    const products = rest.products ?? (meta === 'ViewContent' ? [] : undefined)
    delete rest.products
    if (!products || (lines === 1 && !products.length))
      return lines === 1 && table.ids.some((key) => rest[key]) ? [takeLine(rest)] : undefined
    if (!Array.isArray(products)) return
    return products
      .map((/** @type {Properties} */ product) => {
        const copy = { ...product }
        readNumbers(copy, ['price'])
        return takeLine(copy)
      })
      .filter((/** @type {Properties} */ line) => line.id)
  }

  /** @param {Row} row @param {Properties[]} contents @param {unknown} category */
  const describe = ([, meta, , , , counts], contents, category) => {
    if (contents[0]) {
      const quantities = contents.map(({ quantity }) => (table.lines ? 1 : quantity))
      const total = quantities.reduce((sum, each) => sum + (Number.isInteger(each) ? each : 1), 0)
      return {
        content_type: 'product',
        content_ids: contents.map(({ id }) => id),
        contents,
        ...(counts && { num_items: total }),
      }
    }
    if (meta !== 'ViewContent') return { contents }
    if (typeof category !== 'string' || !category) return {}
    return {
      content_type: 'product_group',
      content_ids: [category],
      contents: [{ id: category, quantity: 1 }],
    }
  }

  /** @param {Row} row @param {Properties} properties */
  const translate = (row, properties) => {
    const [, , values, , rename] = row
    const entries = Object.entries(properties)
    const rest = Object.fromEntries(
      entries.filter(([key, value]) => isGiven(value) && !ENVELOPE.test(key)),
    )
    readNumbers(rest, [...AMOUNTS, ...values])
    if (typeof rest.order_id === 'number') rest.order_id = String(rest.order_id)
    if (typeof rest.currency === 'string') rest.currency = rest.currency.trim().toUpperCase()
    /** @type {Properties} */
    const built = {}
    const usable = values.filter((key) => key !== 'price' || rest.currency)
    const chosen = usable.find((key) => rest[key] !== undefined)
    if (chosen) {
      built.value = rest[chosen]
      if (chosen !== 'price') delete rest[chosen]
    }
    for (const [ours, theirs] of Object.entries(rename)) {
      if (ours in rest) built[theirs] = rest[ours]
      delete rest[ours]
    }
    const contents = takeContents(row, rest)
    if (contents) Object.assign(built, describe(row, contents, built.content_category))
    if (chosen === 'price') delete rest.price
    return { ...built, ...rest, ...(chosen && { value: built.value }) }
  }

  /** @type {Map<string, Row>} */
  const rows = new Map()
  for (const row of table.rows) for (const name of row[0]) rows.set(name, row)

  /** @param {any} name @param {any} properties @returns {[any, any]} */
  const spell = (name, properties) => {
    const row = rows.get(String(name).toLowerCase().replace(/[ _-]/g, ''))
    return row ? [row[1], translate(row, Object(properties))] : [name, properties]
  }

  /** @param {any} call one made before the script had loaded */
  const respell = (call) => {
    if (call?.[0] === 'track') call.splice(1, 2, ...spell(call[1], call[2]))
  }
  if (Array.isArray(page.bridge)) page.bridge.forEach(respell)

  // After the script below has run, and before any other.
  queueMicrotask(() => {
    const api = page._bridge
    if (!api) return
    const { track } = api
    api.track = (
      /** @type {any} */ name,
      /** @type {any} */ properties,
      /** @type {any} */ options,
    ) => track(...spell(name, properties), options)
  })
})()
