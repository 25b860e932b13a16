#!/usr/bin/env bash
# Install the servers that `make interop` runs and .ci/run does not: as root, on Debian 12. What pip
# has is pyproject.toml's extra "interop". A package that is there already is left alone.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(nodejs nginx-light puma unicorn golang-go haproxy lighttpd starlet)
packages+=(apache2-bin caddy h2o openjdk-17-jdk-headless php8.2-fpm)
packages+=(libjetty9-java libtomcat10-embed-java libtomcat10-java)
missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=
    [[ $state == installed ]] || missing+=("$package")
done
command -v busybox >/dev/null || missing+=(busybox-static) # not beside busybox, which would go
if ((${#missing[@]})); then
    .ci/packages "${missing[@]}"
fi
npm install --silent --no-fund --no-audit --prefix build/interop/node express@5 fastify@5
