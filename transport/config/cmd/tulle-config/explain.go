package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tullemesh/tulle/transport"
	"github.com/tullemesh/tulle/transport/config"
	"github.com/tullemesh/tulle/transport/route"
)

// explain says where a call would go.
func explain(args []string, out, errs io.Writer) int {
	flags := newFlags("explain")
	header := headers{}
	flags.Var(header, "H", "")
	wait := flags.Duration("timeout", 3*time.Second, "")
	if err := flags.Parse(args); err != nil {
		return misuse(errs, err)
	}
	// Flags may also follow the URL, as the usage of curl has taught people.
	rest := flags.Args()
	if len(rest) > 3 {
		if err := flags.Parse(rest[3:]); err != nil {
			return misuse(errs, err)
		}
		rest = append(rest[:3:3], flags.Args()...)
	}
	if len(rest) != 3 || *wait <= 0 {
		return misuse(errs, errors.New("explain: want FILE METHOD URL, and a positive timeout"))
	}
	req, err := http.NewRequest(rest[1], rest[2], nil)
	if err == nil && (req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.Host == "") {
		err = errors.New("want a URL such as http://users/path")
	}
	if err != nil {
		return misuse(errs, fmt.Errorf("explain: %s %s: %w", rest[1], rest[2], err))
	}
	req.Header = http.Header(header)
	result, err := config.Load(rest[0], config.Options{})
	if err != nil {
		fmt.Fprintln(errs, err)
		return invalid
	}
	e := explanation{Result: result, out: out}
	return e.call(req, *wait)
}

// headers are the values of -H.
type headers http.Header

func (h headers) String() string { return "" }

// Set takes one "Name: value".
func (h headers) Set(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return fmt.Errorf("header %q: want \"Name: value\"", text)
	}
	http.Header(h).Add(name, strings.TrimSpace(value))
	return nil
}

// explanation is what is said of one call.
type explanation struct {
	*config.Result
	out io.Writer
}

// call explains a call, part by part.
func (e *explanation) call(req *http.Request, wait time.Duration) int {
	t, err := transport.New(e.Transport)
	if err != nil {
		fmt.Fprintln(e.out, err)
		return invalid
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	x := look(ctx, t, req)
	fmt.Fprintf(e.out, "call         %s %s\n", req.Method, req.URL.Redacted())
	if e.Service(req.URL.Host) == "" {
		fmt.Fprintf(e.out, "service      none: the host %s is unknown, %s\n", req.URL.Host, e.unknown())
	}
	if x.Route != nil {
		e.route(x.Route)
	}
	if x.Error != "" {
		fmt.Fprintf(e.out, "refused      %s\n", x.Error)
	}
	if d := x.Destination; d != nil {
		fmt.Fprintf(e.out, "destination  %s\n\n", place(d.Name, d.Environment))
		e.settings(e.Service(d.Name), d.Environment)
		e.endpoints(d)
	}
	return good
}

// look explains a call once the endpoints of its destination are known, or the
// time is up.
func look(ctx context.Context, t *transport.Transport, req *http.Request) transport.Explanation {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		x := t.Explain(ctx, req)
		if d := x.Destination; d == nil || len(d.Endpoints) > 0 || d.DiscoveryError != "" {
			return x
		}
		select {
		case <-ctx.Done():
			return x
		case <-tick.C:
		}
	}
}

// unknown is what becomes of calls to unknown hosts.
func (e *explanation) unknown() string {
	switch e.Transport.Unknown {
	case transport.Resolve:
		return "its addresses come from DNS, under the defaults"
	case transport.Refuse:
		return "the call is refused"
	}
	return "the call is passed on as it is"
}

// place is a service in an environment.
func place(service, environment string) string {
	if environment == "" {
		return service
	}
	return service + " in " + environment
}

// route prints how it was decided where the call goes.
func (e *explanation) route(r *route.Explanation) {
	fmt.Fprintf(e.out, "service      %s\n", place(r.Service, r.Environment))
	for _, c := range r.Considered {
		if c.Why != "matches" {
			fmt.Fprintf(e.out, "no match     %s: %s\n", where(&c), c.Why)
		}
	}
	if r.More > 0 {
		fmt.Fprintf(e.out, "             and %d more\n", r.More)
	}
	if r.Rule != nil {
		fmt.Fprintf(e.out, "rule         %s\n", where(r.Rule))
	}
	if r.Overrides != "" {
		verdict := "honoured"
		if !r.Overridden {
			verdict = "not honoured"
		}
		fmt.Fprintf(e.out, "override     %s: %s\n", r.Overrides, verdict)
	}
	if r.Refused != "" {
		fmt.Fprintf(e.out, "             %s\n", r.Refused)
	}
	fmt.Fprintf(e.out, "action       %s\n", r.Action)
	if r.Delay != "" {
		fmt.Fprintf(e.out, "delay        %s\n", r.Delay)
	}
	if len(r.Chain) > 1 {
		var steps []string
		for _, s := range r.Chain {
			steps = append(steps, place(s.Service, s.Environment))
		}
		fmt.Fprintf(e.out, "asked        %s\n", strings.Join(steps, ", then "))
	}
	if r.Mirror != nil {
		fmt.Fprintf(e.out, "mirror       %s\n", place(r.Mirror.Service, r.Mirror.Environment))
	}
}

// where is a rule and the place where it was written.
func where(r *route.RuleNote) string {
	text := r.Path
	if r.Name != "" {
		text += " (" + r.Name + ")"
	}
	if r.File != "" {
		text += fmt.Sprintf(" %s:%d", r.File, r.Line)
	}
	return text
}

// settings prints what holds at a destination.
func (e *explanation) settings(service, environment string) {
	w := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	for _, s := range e.Settings(service, environment) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Key, s.Value, s.From)
	}
	_ = w.Flush() // a closed pipe is the reader's wish
	fmt.Fprintln(e.out)
}

// endpoints prints the endpoints of a destination.
func (e *explanation) endpoints(d *transport.ServiceSnapshot) {
	fmt.Fprintf(e.out, "endpoints    %d\n", len(d.Endpoints))
	for _, ep := range d.Endpoints {
		fmt.Fprintf(e.out, "  %s%s\n", ep.Addr, facts(ep))
	}
	switch {
	case d.DiscoveryError != "":
		fmt.Fprintf(e.out, "  %s\n", d.DiscoveryError)
	case len(d.Endpoints) == 0:
		fmt.Fprintln(e.out, "  none was found in time")
	}
}

// facts are what else is known of an endpoint.
func facts(ep transport.EndpointSnapshot) string {
	var b strings.Builder
	for _, f := range []struct{ name, value string }{{"name", ep.Name}, {"zone", ep.Zone}} {
		if f.value != "" {
			fmt.Fprintf(&b, "  %s %s", f.name, f.value)
		}
	}
	if ep.Priority != 0 {
		fmt.Fprintf(&b, "  priority %d", ep.Priority)
	}
	if ep.Weight != 0 {
		fmt.Fprintf(&b, "  weight %v", ep.Weight)
	}
	return b.String()
}
