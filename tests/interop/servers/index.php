<?php header("Content-Type: text/plain"); $body = getmypid() . "\n"; header("Content-Length: " . strlen($body)); echo $body;
