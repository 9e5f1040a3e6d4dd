package route

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// isToken says that a text is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// isHostPattern says that a rule can be for the host.
func isHostPattern(s string) bool {
	rest, wild := strings.CutPrefix(s, "*.")
	return isHost(rest, false) && !(wild && strings.Contains(rest, ":"))
}

// isHost says that a text is a host name or address, with a port if that may
// be.
func isHost(s string, port bool) bool {
	if s == "" || len(s) > maxServiceName+8 || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/?#@*\"<>%,;`, r)
	}) {
		return false
	}
	name, p := splitHost(s)
	return name != "" && !strings.HasSuffix(s, ":") && (port || p == "") && isDigits(p)
}

// grpcCodes are the names of gRPC's codes, by number.
func grpcCodes() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
}

const wantCode = "the name of a gRPC code, such as UNAVAILABLE"

// isCode says that a text is the name of a gRPC code.
func isCode(s string) bool { return slices.Contains(grpcCodes(), s) }

const wantPath = "a path from /, without // and control characters, up to 1024 bytes"

// isPath says that a path can be matched or sent.
func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.Contains(s, "//") && len(s) <= maxPattern && isText(s)
}

// isText says that a text has no control characters and is UTF-8.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
