package shim

import (
	"net/http"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/transport/limit"
)

// Modes are all modes, Bare first.
func Modes() []string {
	return []string{Bare, Identity, Pass, Resolve, Breaker, Limit}
}

// layer builds one layer over base, at its defaults.
func layer(mode string, base http.RoundTripper) (http.RoundTripper, func(), error) {
	var wrap func(http.RoundTripper) http.RoundTripper
	var err error
	switch mode {
	case Breaker:
		var b *breaker.Breaker
		if b, err = breaker.New(breaker.Config{}); err == nil {
			wrap = b.Wrap
		}
	case Limit:
		var l *limit.Limiter
		if l, err = limit.New(limit.Config{}); err == nil {
			wrap = l.Wrap
		}
	}
	if err != nil {
		return nil, nil, err
	}
	return wrap(base), func() {}, nil
}
