#!/bin/sh
# Installs the proxies that the bench compares with, from Debian's or Ubuntu's
# own packages. Without them the bench leaves that part out and says so.
set -eu

programs="haproxy nginx"

missing=""
for p in $programs; do
	PATH="$PATH:/usr/sbin" command -v "$p" >/dev/null || missing="$missing $p"
done
if [ -z "$missing" ]; then
	echo "tools.sh: nothing to install"
	exit 0
fi

sudo=""
if [ "$(id -u)" -ne 0 ]; then
	sudo="sudo"
fi
# A package's service must not start: the bench starts its own, on the loopback
# interface.
patient="-o Acquire::Retries=5 -o DPkg::Lock::Timeout=600"
$sudo apt-get $patient update -q
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get $patient install -q -y --no-install-recommends $missing

for p in $programs; do
	PATH="$PATH:/usr/sbin" command -v "$p" >/dev/null || {
		echo "tools.sh: $p is still missing" >&2
		exit 1
	}
done
