# A Rack application that answers with the pid of the process that ran it.
run ->(_env) { [200, { "Content-Type" => "text/plain" }, ["#{Process.pid}\n"]] }
