// Checked by tsc, never run: an app in TypeScript as bridge.d.ts wants it.
window.bridge = window.bridge || []
window.bridge.push(['track', 'ViewContent', { content_ids: ['fern'], value: 24, currency: 'EUR' }])
window.bridge.push(['page'])

export async function order(total: number): Promise<string | undefined> {
  if (Array.isArray(window.bridge)) return undefined
  const id: string = window.bridge.track('Purchase', { value: total, currency: 'EUR' })
  const held: 'granted' | 'limited' | 'denied' | 'pending' = await window.bridge.consent('grant')
  window.bridge.track('GardenPlanned', { beds: 3 }, { eventID: id })
  // @ts-expect-error: no such word
  await window.bridge.consent('maybe')
  // @ts-expect-error: a number was meant
  window.bridge.track('Purchase', { value: '24' })
  // @ts-expect-error: no such call
  window.bridge.push(['tracks', 'Lead'])
  return held === 'granted' ? window.bridge.identity()?.external_id : window.bridge.page()
}
