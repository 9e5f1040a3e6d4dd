package http2_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tullemesh/tulle/breaker"
	"github.com/tullemesh/tulle/internal/rig/http2/badserver"
	"github.com/tullemesh/tulle/retry"
	"github.com/tullemesh/tulle/transport"
)

// endpoints is the number of servers of a test; at least one of them is good.
const endpoints = 3

// startAll starts bad servers and fills up with good ones.
func startAll(t *testing.T, p protocol, bad int, script badserver.Script) (addrs []string, servers []*badserver.Server, ledger *badserver.Ledger, roots *x509.CertPool) {
	t.Helper()
	ledger = new(badserver.Ledger)
	var serverTLS *tls.Config
	if p.secure() {
		serverTLS, roots = certificate(t)
	}
	for i := range endpoints {
		cfg := badserver.Config{TLS: serverTLS, Ledger: ledger, Script: badserver.Script{Delay: script.Delay}}
		if i < bad {
			cfg.Script = script
		}
		s := badserver.Start(t, cfg)
		servers = append(servers, s)
		addrs = append(addrs, s.Addr)
	}
	return addrs, servers, ledger, roots
}

// misbehaviours runs a test over scripts, protocols, and one or two bad servers
// of three.
func misbehaviours(t *testing.T, scripts map[string]badserver.Script, f func(t *testing.T, p protocol, bad int, script badserver.Script)) {
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			protocols(t, allHTTP2, func(t *testing.T, p protocol) {
				for bad := 1; bad < endpoints; bad++ {
					t.Run(fmt.Sprintf("%d bad", bad), func(t *testing.T) { f(t, p, bad, script) })
				}
			})
		})
	}
}

// What servers provably have not processed succeeds elsewhere under the default
// policy, whatever the method: such moves cost no budget.
func TestProvablyUnprocessed(t *testing.T) {
	const delay = 2 * time.Millisecond // so that other calls are under way
	misbehaviours(t, map[string]badserver.Script{
		"refuse the first":    {Do: badserver.First(20, badserver.Refuse), Delay: delay},
		"refuse all":          {Do: badserver.Always(badserver.Refuse), Delay: delay},
		"refuse every second": {Do: badserver.Every(2, badserver.Refuse), Delay: delay},
		"goaway below":        {Do: badserver.Every(10, badserver.GoAwayBelow), Delay: delay},
		"goaway at":           {Do: badserver.Every(10, badserver.GoAwayAt), Delay: delay},
		"goaway at once":      {Do: badserver.Always(badserver.GoAwayBelow), Delay: delay},
		"goaway at connect":   {Unwelcome: 10, Delay: delay},
		"one stream":          {MaxStreams: 1, Delay: delay},
	}, func(t *testing.T, p protocol, bad int, script badserver.Script) {
		addrs, _, ledger, roots := startAll(t, p, bad, script)
		client, url := newClient(t, options{protocol: p, endpoints: addrs, roots: roots})
		list := calls(get, post, stream)
		run(t, client, url, list)
		v := verdict{ledger: ledger, streamMayFail: true, slowest: slow}
		v.judge(t, list)
	})
}

// A body that cannot be rewound is kept, where the policy says so, and moves
// like any other.
func TestKeptBodyMoves(t *testing.T) {
	misbehaviours(t, map[string]badserver.Script{
		"refuse all":   {Do: badserver.Always(badserver.Refuse)},
		"goaway below": {Do: badserver.Every(10, badserver.GoAwayBelow)},
	}, func(t *testing.T, p protocol, bad int, script badserver.Script) {
		addrs, _, ledger, roots := startAll(t, p, bad, script)
		policy := transport.Policy{Retry: &retry.Config{Replay: 64 << 10}}
		client, url := newClient(t, options{protocol: p, endpoints: addrs, roots: roots, policy: policy})
		list := calls(stream)
		for _, c := range list {
			c.body = c.body[:min(len(c.body), 32<<10)]
		}
		run(t, client, url, list)
		v := verdict{ledger: ledger, slowest: slow}
		v.judge(t, list)
	})
}

// generous is a policy for tests in which many calls fail at a time: it is not
// the budget that is tested, nor the breaker of the service. That opens now and then
// where two of three fail at once, before the third one has its first results.
func generous() transport.Policy {
	return transport.Policy{
		Retry: &retry.Config{
			MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
			Budget: retry.BudgetConfig{Ratio: 1, PerSecond: 1000},
		},
		Breaker: &breaker.Config{Off: true},
	}
}

// What servers may have processed is repeated for safe calls only.
func TestMaybeProcessed(t *testing.T) {
	const delay = 2 * time.Millisecond
	misbehaviours(t, map[string]badserver.Script{
		"close early":       {Do: badserver.Every(10, badserver.CloseEarly), Delay: delay},
		"close always":      {Do: badserver.Always(badserver.CloseEarly), Delay: delay},
		"close in body":     {Do: badserver.Every(10, badserver.CloseInBody), Delay: delay},
		"reset early":       {Do: badserver.Every(10, badserver.ResetEarly), Delay: delay},
		"reset always":      {Do: badserver.Always(badserver.ResetEarly), Delay: delay},
		"reset in body":     {Do: badserver.Every(10, badserver.ResetInBody), Delay: delay},
		"enhance your calm": {Do: badserver.Every(10, badserver.GoAwayCalm), Delay: delay},
	}, func(t *testing.T, p protocol, bad int, script badserver.Script) {
		addrs, _, ledger, roots := startAll(t, p, bad, script)
		client, url := newClient(t, options{protocol: p, endpoints: addrs, roots: roots, policy: generous()})
		list := calls(get, post, stream)
		run(t, client, url, list)
		v := verdict{ledger: ledger, postMayFail: true, cutMayShow: cuts(script), slowest: slow}
		v.judge(t, list)
	})
}

// cuts says that the script breaks off responses, if only those of other streams when
// it closes a connection.
func cuts(script badserver.Script) bool {
	for n := range int64(20) {
		switch script.Do(n + 1) {
		case badserver.CloseEarly, badserver.CloseInBody, badserver.ResetInBody:
			return true
		}
	}
	return false
}

// A server that loses its power is noticed by the pings of its connections, and
// the safe calls that waited for it go elsewhere.
func TestVanished(t *testing.T) {
	misbehaviours(t, map[string]badserver.Script{
		"after some": {Do: badserver.After(20, badserver.Vanish)},
		"from start": {Do: badserver.Always(badserver.Vanish)},
	}, func(t *testing.T, p protocol, bad int, script badserver.Script) {
		addrs, _, ledger, roots := startAll(t, p, bad, script)
		base := &http.Transport{
			ForceAttemptHTTP2: true,
			HTTP2:             &http.HTTP2Config{SendPingTimeout: 200 * time.Millisecond, PingTimeout: time.Second},
		}
		// On a slow machine the good server may be late with a ping's answer, too.
		policy := generous()
		policy.Retry.Attempts = 6
		client, url := newClient(t, options{protocol: p, endpoints: addrs, roots: roots, policy: policy, base: base})
		list := calls(get, post)
		run(t, client, url, list)
		v := verdict{ledger: ledger, postMayFail: true, slowest: slow}
		v.judge(t, list)
	})
}
