#!/bin/sh
# Installs what the tests of this module run against, from Debian's or Ubuntu's
# own packages. Call it before "go test ./..." on a machine that may be changed,
# such as one of CI. Without it those tests skip and say so.
set -eu

packages="nginx"
binaries="nginx"

# dns/: Knot with its tool for updates, and dnsmasq without its service.
packages="$packages knot knot-dnsutils dnsmasq-base"
binaries="$binaries knotd knotc knsupdate dnsmasq"

# The otel tests: Prometheus, without its service, with promtool.
packages="$packages prometheus"
binaries="$binaries prometheus promtool"

# browser/: Chromium, with a font. Where the system has it as a snap only, the
# tests use another browser of that kind or skip.
browser=""
for b in chromium chromium-browser google-chrome chrome; do
	command -v "$b" >/dev/null && browser="$b"
done

missing=""
for b in $binaries; do
	PATH="$PATH:/usr/sbin" command -v "$b" >/dev/null || missing="$missing $b"
done
if [ -z "$missing" ] && [ -n "$browser" ]; then
	echo "tools.sh: nothing to install"
	exit 0
fi

sudo=""
if [ "$(id -u)" -ne 0 ]; then
	sudo="sudo"
fi
# A package's service must not start: the tests start their own, on the
# loopback interface.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
# A mirror may fail once, and a machine that has just started may be installing
# its own updates.
patient="-o Acquire::Retries=5 -o DPkg::Lock::Timeout=600"
$sudo apt-get $patient update -q
if [ -z "$browser" ]; then
	if apt-cache show chromium >/dev/null 2>&1; then
		packages="$packages chromium fonts-dejavu-core"
	else
		echo "tools.sh: there is no package chromium here, browser/ will be skipped" >&2
	fi
fi
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get $patient install -q -y --no-install-recommends $packages

for b in $binaries; do
	PATH="$PATH:/usr/sbin" command -v "$b" >/dev/null || {
		echo "tools.sh: $b is still missing" >&2
		exit 1
	}
done
