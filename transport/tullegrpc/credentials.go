package tullegrpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"

	"github.com/tullemesh/tulle/internal/destination"
)

// Credentials are transport credentials that secure connections to services with
// TLS settings of their own (transport.Service: TLS, TLSServerName, Host) by
// those, and all others by fallback:
//
//	grpc.WithTransportCredentials(tullegrpc.Credentials(credentials.NewTLS(nil)))
//
// A fallback that is not secure (insecure.NewCredentials) stays in force for
// services without a TLS of their own.
func Credentials(fallback credentials.TransportCredentials) credentials.TransportCredentials {
	return &destinationCredentials{fallback}
}

// tlsKey is the attribute of an address with the settings for it.
type tlsKey struct{}

// tlsSettings are how connections to an address are secured. They are compared by
// value, as gRPC dials again what has changed.
type tlsSettings struct {
	config *tls.Config // nil: the fallback's
	name   string      // that the certificate is checked for, empty: that of the target
}

// tlsOf are the settings of a destination.
func tlsOf(to *destination.Destination) tlsSettings {
	name := to.TLSServerName
	if name == "" && to.TLS != nil {
		name = to.TLS.ServerName
	}
	return tlsSettings{config: to.TLS, name: cmp.Or(name, hostOnly(to.Host))}
}

// hostOnly is a host without its port.
func hostOnly(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// destinationCredentials are Credentials.
type destinationCredentials struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *destinationCredentials) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	own, _ := credentials.ClientHandshakeInfoFromContext(ctx).Attributes.Value(tlsKey{}).(tlsSettings)
	name := cmp.Or(own.name, authority)
	if own.config == nil {
		return c.TransportCredentials.ClientHandshake(ctx, name, conn)
	}
	return credentials.NewTLS(own.config).ClientHandshake(ctx, name, conn)
}

// Clone implements credentials.TransportCredentials.
func (c *destinationCredentials) Clone() credentials.TransportCredentials {
	return &destinationCredentials{c.TransportCredentials.Clone()}
}
