package admin

import (
	"slices"
	"strings"

	"github.com/tullemesh/tulle/transport/telemetry"
)

// clean takes out of a text what URLs in it may hold of secrets: who is to log in,
// the query, the fragment. Errors of HTTP clients have the URL in their text.
func clean(text string) string {
	var out strings.Builder
	for {
		i := strings.Index(text, "://")
		if i < 0 {
			break
		}
		i += len("://")
		end := i + urlEnd(text[i:])
		out.WriteString(text[:i])
		out.WriteString(cleanRest(text[i:end]))
		text = text[end:]
	}
	if out.Len() == 0 {
		return text
	}
	out.WriteString(text)
	return out.String()
}

// urlEnd is where a URL in a text ends.
func urlEnd(text string) int {
	if i := strings.IndexAny(text, " \t\r\n\"'`<>"); i >= 0 {
		return i
	}
	return len(text)
}

// cleanRest is clean for what follows the scheme. The last at sign before the
// path ends the login, as a password may have one.
func cleanRest(rest string) string {
	if i := strings.IndexAny(rest, "/?#"); i >= 0 && brokenLogin(rest[:i]) {
		rest = rest[strings.LastIndexByte(rest, '@')+1:]
	}
	cut := strings.IndexAny(rest, "?#")
	tail := ""
	if cut >= 0 {
		tail, rest = rest[cut:cut+1]+"…", rest[:cut]
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	return host + path + tail
}

// brokenLogin says that what should be a host and its port is more like a name
// and the start of a password: URLs that nobody could parse stand in errors too.
func brokenLogin(host string) bool {
	i := strings.LastIndexByte(host, ':')
	return i >= 0 && !strings.HasSuffix(host, "]") && strings.Trim(host[i+1:], "0123456789") != ""
}

// cleanRecord is a record with clean texts: itself if they are.
func cleanRecord(r *telemetry.Record) *telemetry.Record {
	c := *r
	c.Error, c.Path = clean(r.Error), clean(r.Path)
	c.Waits, c.Tries = slices.Clone(r.Waits), slices.Clone(r.Tries)
	for i := range c.Waits {
		c.Waits[i].Error = clean(c.Waits[i].Error)
	}
	for i := range c.Tries {
		c.Tries[i].Error = clean(c.Tries[i].Error)
	}
	c.Picks = slices.Clone(r.Picks)
	for i := range c.Picks {
		p := &c.Picks[i]
		p.Candidates = slices.Clone(p.Candidates)
		for k := range p.Candidates {
			p.Candidates[k].Cost = finite(p.Candidates[k].Cost)
		}
	}
	c.Repeats = slices.Clone(r.Repeats)
	for i := range c.Repeats {
		c.Repeats[i].Budget = finite(c.Repeats[i].Budget)
	}
	return &c
}
