# A PSGI application that answers with the pid of the process that ran it.
sub {
    my $body = "$$\n";
    [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $body], [$body]]
}
