// node http on fd 3, without a handler of any signal.
'use strict'
require('node:http').createServer((request, response) => response.end(`${process.pid}\n`)).listen({fd: 3})
