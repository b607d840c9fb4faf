/** @file A lab that other machines reach: nothing is read or changed without its token. */
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { describeError } from './errors.js'
import { ownHost, tokenToChange, tokenToRead } from './security.js'

describe('a lab bound beyond the loopback', () => {
  const token = 'a-token-of-the-lab-for-tests'
  const guard = { token, local: false }
  const app = new Hono()
  app.use(ownHost(guard), tokenToRead(guard), tokenToChange(guard))
  app.all('*', (c) => c.text('ok'))
  app.onError((error, c) => c.json({}, describeError(error).status))
  const ask = async (path: string, init?: RequestInit): Promise<number> =>
    (await app.request(`http://lab.example${path}`, init)).status

  test('needs its token for everything but the links of a mail', async () => {
    expect(await ask('/')).toBe(401)
    expect(await ask('/api/runs/a/files/x')).toBe(401)
    expect(await ask('/?token=wrong')).toBe(401)
    expect(await ask('/', { headers: { authorization: `Bearer ${token}` } })).toBe(200)
    expect(await ask('/unsubscribe/abc', { method: 'POST' })).toBe(200)
    expect(await ask('/unsubscribe/abc/more')).toBe(401)
  })

  test('takes it from the address once, as a cookie that scripts cannot read', async () => {
    const response = await app.request(`http://lab.example/runs?token=${token}&q=1`)
    expect(response.status).toBe(302)
    expect(response.headers.get('location')).toBe('/runs?q=1')
    const cookie = response.headers.get('set-cookie')!
    expect(cookie).toMatch(/HttpOnly; SameSite=Lax/)
    expect(await ask('/', { headers: { cookie: cookie.split(';')[0] } })).toBe(200)
    const change = {
      method: 'POST',
      headers: { cookie: cookie.split(';')[0], 'content-type': 'application/json' },
    }
    expect(await ask('/api/jobs', change)).toBe(401)
  })
})
