#!/bin/sh
# Runs the tests of transport/tullegrpc with the oldest gRPC that go.mod allows, and
# with the newest published one. The repository's go.mod and go.sum stay as they are.
#
#	internal/rig/grpcversions.sh
#
# Without a module proxy within reach it tests the first, says loudly that it skips
# the second, and succeeds. In CI (CI=true) that is a failure.
set -eu

cd "$(dirname "$0")/../.."
GO="${GO:-go}"
grpc=google.golang.org/grpc
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# modfile copies go.mod and go.sum under a name.
modfile() {
	cp go.mod "$dir/$1.mod"
	cp go.sum "$dir/$1.sum"
}

# run tests with the modfile of a name, and says which gRPC that is.
run() {
	version=$($GO list -m -mod=mod -modfile="$dir/$1.mod" -f '{{.Version}}' $grpc)
	echo "== tullegrpc with the $1 gRPC, $version"
	$GO vet -mod=mod -modfile="$dir/$1.mod" ./transport/tullegrpc
	$GO test -mod=mod -modfile="$dir/$1.mod" ./transport/tullegrpc
}

# go.mod names the oldest version that is allowed, and Go selects no newer one than
# some requirement names: that is the test.
modfile oldest
run oldest
named=$(awk -v m=$grpc '$1 == m { print $2 } $1 == "require" && $2 == m { print $3 }' go.mod)
if [ "$version" != "$named" ]; then
	echo "grpcversions.sh: go.mod says $grpc $named, and another requirement $version" >&2
	exit 1
fi

modfile newest
if ! newest=$($GO list -m -mod=mod -modfile="$dir/newest.mod" -f '{{.Version}}' $grpc@latest 2>"$dir/why") ||
	! $GO get -modfile="$dir/newest.mod" "$grpc@$newest" 2>"$dir/why"; then
	sed 's/^/  /' "$dir/why" >&2
	echo "== SKIPPED: the newest gRPC, as the module proxy cannot be reached" >&2
	[ "${CI:-}" != true ] || exit 1
	exit 0
fi
run newest
if [ "$version" != "$newest" ]; then
	echo "grpcversions.sh: got $grpc $version, want the newest, $newest" >&2
	exit 1
fi
