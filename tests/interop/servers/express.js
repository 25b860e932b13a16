// express on fd 3, with the lines of server.js.
'use strict'
const express = require('express')

const app = express()
app.get('/', (request, response) => response.type('text').send(`${process.pid}\n`))
const server = app.listen({fd: 3})

let closing = false
server.prependListener('request', (_, response) => { if (closing) response.setHeader('Connection', 'close') })
process.on('SIGTERM', () => { closing = true; require('node:net').Server.prototype.close.call(server) })
