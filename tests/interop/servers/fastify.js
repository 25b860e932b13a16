// fastify on fd 3: the listening socket is closed first, and fastify itself once all have gone.
'use strict'
const fastify = require('fastify')()

fastify.get('/', async () => `${process.pid}\n`)
fastify.listen({fd: 3})

let closing = false
fastify.server.prependListener('request', (_, response) => { if (closing) response.setHeader('Connection', 'close') })
process.on('SIGTERM', () => {
  closing = true
  require('node:net').Server.prototype.close.call(fastify.server, () => fastify.close())
})
