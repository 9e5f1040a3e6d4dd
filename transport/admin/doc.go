// Package admin shows what a Transport knows, as a live page and as JSON: its
// services and endpoints with state, share, latency and cost, what changed, and
// why single calls went where they went.
//
// Most programs mount it next to their other handlers of that kind:
//
//	h, err := admin.New(t, admin.Config{})
//	if err != nil {
//		return err
//	}
//	defer h.Close()
//	mux.Handle("/mesh/", http.StripPrefix("/mesh", h))
//
// The page needs nothing from elsewhere, and works without JavaScript; with it,
// it is kept up to date. These are below the place where the handler is mounted:
//
//	./                   services, worst first          ?q= ?sort= ?page=
//	service              one destination                ?name= ?environment= ?page=
//	records              recent decisions               ?service= ?path= ?status= ?failed= ?limit=
//	snapshot.json        State                          ?service= ?environment= ?q= ?endpoints= ?offset= ?limit=
//	records.json         Records                        as records
//	history.json         History, what the charts show  ?service= ?environment=
//	schema.json          the JSON Schema of these three and of Pulse
//	events               server-sent events: a Pulse each Config.Interval
//	hystrix.stream       server-sent events for a Hystrix dashboard, each 500 ms
//
// docs/admin.md has the details. Records are kept if telemetry.Config.Sample says
// so.
//
// # Who may read it
//
// The handler only reads: any method but GET and HEAD is refused. It has no login:
// mount it where only those get who may see it, or wrap it in your own check. Other
// sites cannot read it through a browser: requests that come from one are refused,
// as are those for a host name that is not expected (see Config.Hosts), so that a
// name which was pointed at this machine does not help them. No header of a call,
// no query and no password of a URL is in what it shows. Paths and addresses are.
//
// # What it costs
//
// Nothing while nobody looks, unless Config.Background says otherwise: what the
// charts show is sampled when somebody looks, by the request that looks. While
// somebody does, one Transport.Snapshot each Config.Interval, however many look.
package admin
