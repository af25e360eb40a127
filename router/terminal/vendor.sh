#!/bin/sh
# Fetches the terminal's third-party files into static/vendor: `router/terminal/vendor.sh`. Packages are checked against the hashes here;
# to move to other versions, change both. What is there is what `sha256sum --check static/vendor/SHA256SUMS` says.
set -eu

cd "$(dirname "$0")/static/vendor"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { # NAME VERSION INTEGRITY(sha512, base64)
    archive=$(cd "$work" && npm pack --silent "$1@$2")
    found=$(openssl dgst -sha512 -binary "$work/$archive" | base64 -w0)
    [ "$found" = "$3" ] || { echo "vendor: $1@$2 has the hash sha512-$found" >&2; exit 1; }
    mkdir "$work/out"
    tar -xzf "$work/$archive" -C "$work/out" --strip-components=1
}

take() { # FILE TARGET; without the line that names a source map, which is not here
    sed '/^\/\/# sourceMappingURL=/d' "$work/out/$1" > "$2"
}

fetch @xterm/xterm 6.0.0 TQwDdQGtwwDt+2cgKDLn0IRaSxYu1tSUjgKarSDkUM0ZNiSRXFpjxEsvc/Zgc5kq5omJ+V0a8/kIM2WD3sMOYg==
take lib/xterm.mjs xterm.mjs
take css/xterm.css xterm.css
take LICENSE xterm.LICENSE
rm -r "$work/out"

fetch @xterm/addon-fit 0.11.0 jYcgT6xtVYhnhgxh3QgYDnnNMYTcf8ElbxxFzX0IZo+vabQqSPAjC3c1wJrKB5E19VwQei89QCiZZP86DCPF7g==
take lib/addon-fit.mjs addon-fit.mjs
take LICENSE addon-fit.LICENSE

sha256sum xterm.mjs xterm.css xterm.LICENSE addon-fit.mjs addon-fit.LICENSE > SHA256SUMS
