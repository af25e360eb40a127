#!/bin/sh
# Installs what a Debian machine lacks to run cove, and nothing that is there: `install.sh [venv] [cargo] [clippy] [registry-tests] [browser-tests]`.
# Without arguments: what a node needs at run time. The words add what building from source and the tests need.
# Idempotent; silent when all is there.
# The packages come from the machine's own sources; runsc from that mirror's backports where the release itself has an older one.
set -eu

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")/../.." && pwd)
oldest_runsc=20240729
backports=/etc/apt/sources.list.d/cove-backports.sources

say() { echo "install: $*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

runsc_is_new() {
    has runsc || return 1
    date=$(runsc --version 2>/dev/null | sed -nE '1s/.*(20[0-9]{6}).*/\1/p')
    [ "${date:-0}" -ge "$oldest_runsc" ]
}

# One line for each thing that is missing: the package that has it.
missing() {
    has nft || echo nftables
    ldconfig -p | grep -q 'libnftables\.so\.1' || echo libnftables1
    has ip || echo iproute2
    has mmdebstrap || echo mmdebstrap
    has mkfs.btrfs || echo btrfs-progs
    has zstd || echo zstd
    has ps || echo procps
    has unshare && has setpriv && has taskset || echo util-linux
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
    for word in "$@"; do
        case $word in
            venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv ;;
            cargo) has cargo && { has cc || has gcc; } || echo cargo ;;
            clippy) cargo clippy --version >/dev/null 2>&1 || echo rust-clippy ;;
            registry-tests) for program in docker-registry skopeo umoci; do has "$program" || echo "$program"; done ;;
            benchmarks) has nginx || echo nginx-light ;;
            browser-tests) has chromium || echo chromium ;;
            *) fail "unknown word: $word" ;;
        esac
    done
    runsc_is_new || echo runsc
}

# Packages that bring a service would start it: not on a machine that we were asked to install on, not to run on.
forbid_services() {
    if [ -e /usr/sbin/policy-rc.d ]; then return; fi
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 0755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 130' INT TERM
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -qq "$@" >&2; }

candidate_is_new() {
    date=$(apt-cache policy runsc | sed -nE 's/^ *Candidate: .*(20[0-9]{6}).*/\1/p')
    [ "${date:-0}" -ge "$oldest_runsc" ]
}

install_runsc() {
    if candidate_is_new; then
        apt install -y --no-install-recommends runsc
    else
        release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
        if ! apt-cache policy | grep -q "n=$release-backports"; then
            (cd "$here" && "${PYTHON:-python3}" -m sandboxd.apt_sources backports) > "$backports"
            apt update
        fi
        apt install -y --no-install-recommends -t "$release-backports" runsc
    fi
    runsc_is_new || fail "runsc is older than $oldest_runsc: install gVisor's own release as /usr/local/bin/runsc"
}

packages=$(missing "$@" | sort -u | tr '\n' ' ')
[ -n "$packages" ] || exit 0
has apt-get || fail "this is not Debian; install by hand: $packages"
if [ "$(id -u)" != 0 ]; then
    say "not root, so these stay missing: $packages"
    [ -z "${CI:-}" ] && exit 0 # a laptop: tests that need them are skipped, and cove up says what it needs
    exit 1
fi

say "installing: $packages"
forbid_services
apt update
others=$(echo "$packages" | tr ' ' '\n' | grep -vx runsc | tr '\n' ' ')
# shellcheck disable=SC2086  # a list of names
if [ -n "${others# }" ]; then apt install -y --no-install-recommends $others; fi
case " $packages" in *" runsc "*) install_runsc ;; esac
# Not started above, and not at the next boot either: the tests start registries of their own.
case " $packages" in *" docker-registry "*) if has systemctl; then systemctl --quiet disable docker-registry; fi ;; esac

left=$(missing "$@" | sort -u | tr '\n' ' ')
[ -z "$left" ] || fail "still missing after the installation: $left"
