package http_test

import (
	"context"
	"net"
	. "net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// ExportErrRequestCanceled and ExportErrRequestCanceledConn are private values
// that tests compare with. A request that is cancelled at the right moment
// returns them.
var (
	ExportErrRequestCanceled     = canceledError(false)
	ExportErrRequestCanceledConn = canceledError(true)
)

// canceledError cancels a request by its Cancel channel: while it waits for a
// connection, or when it has one that never answers.
func canceledError(dialing bool) error {
	cancel := make(chan struct{})
	near, far := net.Pipe()
	defer far.Close()
	tr := &Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if dialing {
			close(cancel)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return near, nil
	}}
	defer tr.CloseIdleConnections()
	if !dialing {
		go func() {
			_, _ = far.Read(make([]byte, 1)) // the request is on its way
			close(cancel)
		}()
	}
	req, err := NewRequest("GET", "http://canceled.invalid/", nil)
	if err != nil {
		return err
	}
	req.Cancel = cancel
	_, err = tr.RoundTrip(req)
	return err
}

// idleConnKeys lists the keys of the connection pool of tr.
func idleConnKeys(tr *Transport) []string {
	keys := []string{}
	forIdleConns(tr, func(key string, _ int) { keys = append(keys, key) })
	slices.Sort(keys)
	return keys
}

// idleConnCount counts the idle connections to an address.
func idleConnCount(tr *Transport, scheme, addr string) int {
	count := 0
	forIdleConns(tr, func(key string, n int) {
		if key == "|"+scheme+"|"+addr {
			count = n
		}
	})
	return count
}

// pendingRequests counts the requests that tr could still cancel.
func pendingRequests(tr *Transport) int {
	unlock := lockField(tr, "reqMu")
	defer unlock()
	return reflect.ValueOf(tr).Elem().FieldByName("reqCanceler").Len()
}

// forIdleConns calls f for each key of the private pool of tr.
func forIdleConns(tr *Transport, f func(key string, n int)) {
	unlock := lockField(tr, "idleMu")
	defer unlock()
	pool := reflect.ValueOf(tr).Elem().FieldByName("idleConn")
	for iter := pool.MapRange(); iter.Next(); {
		key := iter.Key()
		text := strings.Join([]string{
			key.FieldByName("proxy").String(), key.FieldByName("scheme").String(), key.FieldByName("addr").String(),
		}, "|")
		f(text, iter.Value().Len())
	}
}

// lockField locks a private mutex of tr.
func lockField(tr *Transport, name string) (unlock func()) {
	field := reflect.ValueOf(tr).Elem().FieldByName(name)
	mu := (*sync.Mutex)(unsafe.Pointer(field.UnsafeAddr()))
	mu.Lock()
	return mu.Unlock
}
