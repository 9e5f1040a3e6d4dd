package telemetry

import "net/url"

// FullURL is a URL as url.full has it.
func FullURL(u *url.URL) string { return string(appendURL(nil, u)) }
