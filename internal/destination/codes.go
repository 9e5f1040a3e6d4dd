package destination

import "net/http"

// codeNames are the status codes of gRPC by number, each with the HTTP status that
// it stands for (google.rpc.Code).
var codeNames = [...]struct {
	name   string
	status int
}{
	{"OK", http.StatusOK},
	{"CANCELLED", 499},
	{"UNKNOWN", http.StatusInternalServerError},
	{"INVALID_ARGUMENT", http.StatusBadRequest},
	{"DEADLINE_EXCEEDED", http.StatusGatewayTimeout},
	{"NOT_FOUND", http.StatusNotFound},
	{"ALREADY_EXISTS", http.StatusConflict},
	{"PERMISSION_DENIED", http.StatusForbidden},
	{"RESOURCE_EXHAUSTED", http.StatusTooManyRequests},
	{"FAILED_PRECONDITION", http.StatusBadRequest},
	{"ABORTED", http.StatusConflict},
	{"OUT_OF_RANGE", http.StatusBadRequest},
	{"UNIMPLEMENTED", http.StatusNotImplemented},
	{"INTERNAL", http.StatusInternalServerError},
	{"UNAVAILABLE", http.StatusServiceUnavailable},
	{"DATA_LOSS", http.StatusInternalServerError},
	{"UNAUTHENTICATED", http.StatusUnauthorized},
}

// Code is the gRPC code of a name, 2 (UNKNOWN) for a name that is none.
func Code(name string) uint32 {
	for i := range codeNames {
		if codeNames[i].name == name {
			return uint32(i)
		}
	}
	return 2
}

// StatusOf is the HTTP status that a gRPC code stands for.
func StatusOf(code uint32) int {
	if int(code) < len(codeNames) {
		return codeNames[code].status
	}
	return http.StatusInternalServerError
}

// CodeOf is the gRPC code of an HTTP status, as gRPC maps what does not come from a
// gRPC server (grpc/doc/http-grpc-status-mapping.md).
func CodeOf(status int) uint32 {
	switch status {
	case http.StatusBadRequest:
		return Code("INTERNAL")
	case http.StatusUnauthorized:
		return Code("UNAUTHENTICATED")
	case http.StatusForbidden:
		return Code("PERMISSION_DENIED")
	case http.StatusNotFound:
		return Code("UNIMPLEMENTED")
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Code("UNAVAILABLE")
	}
	return Code("UNKNOWN")
}
