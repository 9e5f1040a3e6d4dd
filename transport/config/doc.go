// Package config reads a YAML or JSON file into a transport.Config and keeps a
// Transport up to date with it.
//
// Most programs want one call, and a goroutine that keeps up with the file:
//
//	t, loader, err := config.Open("tulle.yaml", config.Options{})
//	if err != nil {
//		return err
//	}
//	defer t.Close()
//	go loader.Run(ctx, t.Update)
//
// The file has the declarative part of transport.Config; functions, resolvers of
// one's own and the Base stay code, see Options.Base. Every key is described by
// the schema, with which editors complete a file (the comment in its first line
// tells them where to find it: tulle-config schema prints it):
//
//	defaults: {timeout: 2s, attemptTimeout: 500ms}
//	services:
//	  users:
//	    target: dns://users.internal:8080
//	    retry: {attempts: 4}
//
// # Strictness
//
// Unknown and repeated keys, wrong types, values out of range and all that
// transport.Config.Validate finds are errors, told all at once, each with line,
// column, path of keys and what is allowed (Problem). A duration has a unit: 2s,
// and none where it may be switched off; a number is decimal, without leading
// zeros; the words yes, no, on and off need quotes, as they mean truth to some and
// text to others. Anchors, aliases and merge keys are allowed, up to 250,000
// values with what they repeat; tags are not. Keys at the top that begin with x-
// are ignored, as a home for anchors.
//
// # Routes
//
// Environments, rules, labels and overrides stand in the file as in
// transport.Config, each key by the name of its field. Routes of the Gateway API
// (HTTPRoute, GRPCRoute, and lists of them) are taken as they are, as further
// documents of the file or from routeFiles, where objects of other kinds are
// passed over. Those that name a service as parent come after its own rules, the
// oldest first, and make it refuse calls that no rule matches, unless it has the
// key onlyRules. A parentRef to a Service users of the namespace shop is the
// service users.shop:80, users.shop, or users for a route of the same namespace;
// without a port it is each of them that has one, too.
//
// # References
//
// A text may have references: ${NAME} is a variable of the environment and
// ${file:path} the content of a file, without the line break at its end; $${ is
// the characters themselves. One that leads nowhere is an error. What references
// lead to is shown in no error, log or Status. An address is no secret, though:
// Transport.Snapshot shows endpoints, whatever they were made of. Relative paths,
// here and elsewhere, are relative to the folder of the file.
//
// # Reload
//
// A Loader polls the file and all files that it leads to. New content counts once
// it has come to rest; it is then put in force as a whole, or refused as a whole,
// and what was in force stays. Settings that mean the same stay the same, so
// that connections, statistics, breakers and watches live on, and a new
// certificate replaces the connections of exactly the services that use it.
package config
