# app.py in Ruby: see there.
here = __dir__
release = File.read("#{here}/release").strip
abort 'this release does not start' if release == 'exits'
sleep if release == 'hangs'
File.write("#{here}/lives/#{Process.pid}", '')
Thread.new { sleep 0.3; exit! 1 } if release == 'dies'

run ->(environment) {
  sleep 0.2 if environment['PATH_INFO'] == '/slow'
  if environment['PATH_INFO'] == '/deaf'
    %w[TERM INT QUIT].each { |name| trap(name, 'IGNORE') rescue nil }
    File.write("#{here}/deaf", '')
    sleep
  end
  [200, { 'Content-Type' => 'text/plain' }, ["#{Process.pid}\n"]]
}
