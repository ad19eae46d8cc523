package nginx

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	netv1 "k8s.io/api/networking/v1"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
	"github.com/siskin-dev/siskin/pkg/router/internal/owned"
)

// The annotations, without their prefix.
const (
	noteCanary  = "canary"
	noteWeight  = "canary-weight"
	noteTotal   = "canary-weight-total"
	noteHeader  = "canary-by-header"
	noteValue   = "canary-by-header-value"
	notePattern = "canary-by-header-pattern"
	noteCookie  = "canary-by-cookie"

	// legacyClass is the class of an Ingress in the old way.
	legacyClass = "kubernetes.io/ingress.class"
	// total is what all requests are, in the unit of the weight. It is written though it is the default: another one would make
	// another share of the same weight.
	total = 100
)

// prefix of the annotations of a Canary.
func prefix(c *siskinv1.Canary) string {
	if ref := c.Spec.IngressRef; ref != nil && ref.AnnotationsPrefix != "" {
		return ref.AnnotationsPrefix + "/"
	}
	return DefaultPrefix + "/"
}

// desired is the canary Ingress that the intent asks for, but for its digests. When the user's Ingress cannot tell which paths it has,
// those that the live one has are kept, and what is wrong is returned too.
func desired(in router.Intent, main, live *netv1.Ingress) (*netv1.Ingress, error) {
	notes, err := audience(in)
	if err != nil {
		return nil, err
	}
	base, refused := main, usable(in, main)
	if refused != nil {
		if live == nil {
			return nil, refused
		}
		base = live
	}
	out := &netv1.Ingress{ObjectMeta: owned.Meta(in.Owner, in.Canary, in.Owner.Spec.Service.Apex)}
	p := prefix(in.Owner)
	maps.DeleteFunc(out.Annotations, func(key, _ string) bool { return strings.HasPrefix(key, p) || key == legacyClass })
	for key, value := range base.Annotations {
		// Of these ingress-nginx reads those about load balancing and affinity. Others may read more of them on each Ingress by
		// itself: without those about authentication the canary would be open to everybody.
		if strings.HasPrefix(key, p) && !strings.HasPrefix(key, p+noteCanary) {
			out.Annotations[key] = value
		}
	}
	out.Annotations[p+noteCanary] = "true"
	out.Annotations[p+noteWeight], out.Annotations[p+noteTotal] = strconv.Itoa(int(in.Split.Canary)), strconv.Itoa(total)
	for key, value := range notes {
		out.Annotations[p+key] = value
	}
	to := in.Canary
	switch {
	case closed(in):
		to, out.Spec.IngressClassName = in.Primary, new(DisabledClass)
	case main == nil: // it is not known which class it had
		return nil, refused
	default:
		out.Spec.IngressClassName = main.Spec.IngressClassName
		if class, ok := main.Annotations[legacyClass]; ok {
			out.Annotations[legacyClass] = class
		}
	}
	from := []string{in.Apex}
	if refused != nil {
		from = []string{in.Primary, in.Canary}
	}
	out.Spec.Rules, out.Spec.DefaultBackend = paths(base.Spec.Rules, from, to), backend(base.Spec.DefaultBackend, from, to)
	return out, refused
}

// usable tells why the user's Ingress cannot have a canary beside it.
func usable(in router.Intent, main *netv1.Ingress) error {
	ref, p := in.Owner.Spec.IngressRef, prefix(in.Owner)
	switch {
	case ref == nil:
		return invalid("spec.ingressRef", "name the Ingress that leads to Service %s", in.Apex)
	case main == nil:
		return fmt.Errorf("there is no Ingress %s: %w", ref.Name, router.ErrNotFound)
	case main.Name == in.Canary:
		return invalid("spec.ingressRef.name", "Ingress %s has the name that the canary's is to have: rename it, or choose another spec.service.name", main.Name)
	case main.Annotations[p+noteCanary] == "true":
		return invalid("spec.ingressRef.name", "Ingress %s is a canary itself: name the one that all clients come in by", main.Name)
	case main.Annotations[p+"ssl-passthrough"] == "true":
		return invalid("spec.ingressRef.name", "Ingress %s has the annotation %sssl-passthrough, so that nobody sees its requests and they cannot be "+
			"split: remove it, or use iterations with provider kubernetes", main.Name, p)
	case len(paths(main.Spec.Rules, []string{in.Apex}, "")) == 0 && backend(main.Spec.DefaultBackend, []string{in.Apex}, "") == nil:
		return invalid("spec.ingressRef.name", "no path of Ingress %s leads to Service %s, whose traffic could be split: give it one, or name another Ingress",
			main.Name, in.Apex)
	}
	return nil
}

// paths are the rules with those paths that lead to one of some Services, which lead to another one instead.
func paths(rules []netv1.IngressRule, from []string, to string) []netv1.IngressRule {
	var out []netv1.IngressRule
	for _, rule := range rules {
		if rule.HTTP == nil {
			continue
		}
		kept := netv1.IngressRule{Host: rule.Host}
		kept.HTTP = &netv1.HTTPIngressRuleValue{}
		for _, path := range rule.HTTP.Paths {
			if b := backend(&path.Backend, from, to); b != nil {
				path.Backend = *b
				kept.HTTP.Paths = append(kept.HTTP.Paths, path)
			}
		}
		if len(kept.HTTP.Paths) > 0 {
			out = append(out, kept)
		}
	}
	return out
}

// backend is one that leads to one of some Services, led to another one; nil: it does not. The port stays: the Services of both
// versions have those of the apex, by the same numbers and names.
func backend(b *netv1.IngressBackend, from []string, to string) *netv1.IngressBackend {
	if b == nil || b.Service == nil {
		return nil
	}
	if !slices.Contains(from, b.Service.Name) {
		return nil
	}
	return &netv1.IngressBackend{Service: &netv1.IngressServiceBackend{Name: to, Port: b.Service.Port}}
}
