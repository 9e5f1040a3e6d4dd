package route

// filterKeys are the keys of filters that tulle does, by type.
func filterKeys() map[string]string {
	return map[string]string{
		"RequestHeaderModifier":  "requestHeaderModifier",
		"ResponseHeaderModifier": "responseHeaderModifier",
		"RequestMirror":          "requestMirror",
		"RequestRedirect":        "requestRedirect",
		"URLRewrite":             "urlRewrite",
	}
}

// filters reads the filters of a rule or a backend.
func (r *reader) filters(o *object, rule *Rule) {
	seen := map[string]bool{}
	for _, f := range o.list("filters") {
		one := f.object()
		if one == nil {
			continue
		}
		kind := one.need("type")
		key := filterKeys()[kind]
		switch {
		case kind == "":
		case key == "" || r.grpc() && kind != "RequestHeaderModifier":
			one.at(".type").add(kind, "%s", r.wantFilter())
			one.ignore("cors", "externalAuth", "extensionRef")
		case seen[kind]:
			one.at(".type").add(kind, "each type once")
			one.ignore(key)
		default:
			n, has := one.get(key)
			if !has {
				n.add(raw("(missing)"), "an object, as the type is %s", kind)
				break
			}
			r.filter(kind, n.object(), rule)
		}
		seen[kind] = true
		one.done()
	}
}

// wantFilter lists the types of filters that tulle does.
func (r *reader) wantFilter() string {
	if r.grpc() {
		return "RequestHeaderModifier: the others are not done over gRPC"
	}
	return "RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect or URLRewrite"
}

// filter reads one filter.
func (r *reader) filter(kind string, o *object, rule *Rule) {
	if o == nil {
		return
	}
	defer o.done()
	switch kind {
	case "RequestHeaderModifier":
		rule.RequestHeaders = headers(o)
	case "ResponseHeaderModifier":
		rule.ResponseHeaders = headers(o)
	case "RequestMirror":
		rule.Mirror = r.mirror(o)
	case "RequestRedirect":
		rule.Redirect = &Redirect{
			Scheme: o.text("scheme", ""), Host: o.text("hostname", ""), Port: o.number("port", 0),
			Path: pathEdit(o.child("path")), Status: o.number("statusCode", 0),
		}
	case "URLRewrite":
		rule.Rewrite = &Rewrite{Host: o.text("hostname", ""), Path: pathEdit(o.child("path"))}
	}
}

// headers reads header changes.
func headers(o *object) Headers {
	h := Headers{Set: pairs(o, "set"), Add: pairs(o, "add")}
	for _, n := range o.list("remove") {
		name, ok := n.v.(string)
		if !ok {
			n.bad("a header name")
		}
		h.Remove = append(h.Remove, name)
	}
	return h
}

// pairs reads a list of names and values.
func pairs(o *object, key string) map[string]string {
	m := map[string]string{}
	for _, n := range o.list(key) {
		one := n.object()
		if one == nil {
			continue
		}
		name, value := one.need("name"), one.need("value")
		if _, twice := m[name]; twice {
			one.at(".name").add(name, "each name once")
		}
		m[name] = value
		one.done()
	}
	return m
}

// mirror reads where copies go; nil if none do.
func (r *reader) mirror(o *object) *Mirror {
	to := o.child("backendRef")
	if to == nil {
		o.at(".backendRef").add(raw("(missing)"), "an object")
		return nil
	}
	m := &Mirror{Service: r.service(to)}
	to.done()
	_, byPercent := o.get("percent")
	fraction := o.child("fraction")
	if byPercent && fraction != nil {
		o.add(raw("with percent and fraction"), "one of them")
	}
	switch {
	case byPercent:
		percent := float64(o.number("percent", 100))
		m.Percent = &percent
	case fraction != nil:
		m.Percent = fractionOf(fraction)
	}
	return m
}

// fractionOf reads a fraction as a percentage.
func fractionOf(o *object) *float64 {
	defer o.done()
	if n, has := o.get("numerator"); !has {
		n.add(raw("(missing)"), "an integer")
	}
	numerator, denominator := o.number("numerator", 0), o.number("denominator", 100)
	if denominator < 1 {
		o.at(".denominator").add(denominator, "1 or more")
		return nil
	}
	if numerator < 0 || numerator > denominator {
		o.at(".numerator").add(numerator, "0 to the denominator, %d", denominator)
		return nil
	}
	percent := 100 * float64(numerator) / float64(denominator)
	return &percent
}

// pathEdit reads how a path is changed. An empty replacement of a prefix is the
// same as "/", by the table in the Gateway API's HTTPPathModifier.
func pathEdit(o *object) PathEdit {
	if o == nil {
		return PathEdit{}
	}
	defer o.done()
	kind := o.need("type")
	keys := map[string]string{"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}
	if keys[kind] == "" {
		if kind != "" {
			o.at(".type").add(kind, "ReplaceFullPath or ReplacePrefixMatch")
		}
		o.ignore("replaceFullPath", "replacePrefixMatch")
		return PathEdit{}
	}
	path := o.text(keys[kind], "/")
	if n, has := o.get(keys[kind]); !has {
		n.add(raw("(missing)"), "a path, as the type is %s", kind)
	}
	if path == "" {
		path = "/"
	}
	path = o.decoded(keys[kind], path, nil)
	if kind == "ReplaceFullPath" {
		return PathEdit{Full: path}
	}
	return PathEdit{Prefix: path}
}
