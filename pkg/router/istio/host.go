package istio

import (
	"strings"

	"github.com/siskin-dev/siskin/pkg/router"
)

// A destination names a Service by its name alone, which Istio completes with the VirtualService's namespace, or in full,
// web.default.svc.cluster.local. What follows the name is kept, whatever the cluster's domain is.

// domainOf tells whether a host is a Service of the intent's namespace, and what follows its name there.
func domainOf(host, service string, in router.Intent) (domain string, ok bool) {
	domain, ok = strings.CutPrefix(host, service)
	full := "." + in.Owner.Namespace + ".svc"
	return domain, ok && (domain == "" || domain == full || strings.HasPrefix(domain, full+"."))
}

// leadsTo tells whether an entry of a route leads to a Service.
func leadsTo(entry any, service string, in router.Intent) bool {
	e, _ := entry.(fields)
	_, ok := domainOf(text(object(e, "destination"), "host"), service, in)
	return ok
}

// moved is an entry of a route that leads to another Service than from, and else says what it said.
func moved(entry fields, from, to string, in router.Intent) fields {
	out := copied(entry)
	destination := within(out, "destination")
	domain, _ := domainOf(text(destination, "host"), from, in)
	destination["host"] = to + domain
	return out
}
