// node http on fd 3, closed as its documentation says: what README.md's three lines are better than.
'use strict'
const http = require('node:http')

const server = http.createServer((request, response) => response.end(`${process.pid}\n`))
server.listen({fd: 3})
process.on('SIGTERM', () => server.close())
