package router

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
)

// Registration is one router and all that the engine must know to drive it. The RBAC markers for its kinds stand in the router's own
// package, where make manifests finds them.
type Registration struct {
	// Names are the values of spec.provider that mean this router; the first is the one that docs use.
	Names []string
	// New makes the router.
	New Constructor
	// AddToScheme adds the kinds that the router reads or writes; nil: client-go knows them.
	AddToScheme func(*runtime.Scheme) error
	// Owns are the kinds that the router generates; a change of one wakes the Canary that owns it. Without all of them in the API server
	// the provider is not available.
	Owns []client.Object
	// Matters tells whether an update of an object of such a kind wakes its Canary; nil: each does. It is asked of other routers' kinds
	// too, whose updates matter.
	Matters func(before, after client.Object) bool
	// Watches are kinds of which the router adopts or reads objects that it does not own.
	Watches []Watch
	// Claims are the objects that the routing of a Canary needs for itself: of two Canaries of a namespace that claim one, the later is
	// refused. The names of the Services, and of what is named like them, are claimed without it. It reads nothing but metadata,
	// spec.targetRef, spec.provider and spec.service, which is all that is known of the Canaries of other shards; nil: there are none.
	Claims func(c *siskinv1.Canary) []Claim
}

// Watch is a kind of objects that no Canary owns, such as a user's own route; it may be a kind of which the router generates objects too.
// A kind that the API server lacks is not watched.
type Watch struct {
	// Object is an empty object of the kind.
	Object client.Object
	// Of are the objects of the kind that the routing of a Canary depends on: a change of one wakes it. It is asked for the Canaries of
	// every provider.
	Of func(c *siskinv1.Canary) []types.NamespacedName
}

// Claim is an object in the Canary's namespace that only one Canary can route by.
type Claim struct {
	// Kind and Name of the object, such as VirtualService web.
	Kind, Name string
	// Field of the Canary that names it, for people.
	Field string
}

// Registry are the routers that there are; it is built in cmd and passed as a value. Of two with the same name the first counts.
type Registry []Registration

// Names lists the providers, sorted.
func (r Registry) Names() []string {
	var out []string
	for _, reg := range r {
		out = append(out, reg.Names...)
	}
	slices.Sort(out)
	return out
}

// Find returns the registration of a provider.
func (r Registry) Find(provider string) (Registration, bool) {
	i := slices.IndexFunc(r, func(reg Registration) bool { return slices.Contains(reg.Names, provider) })
	if i < 0 {
		return Registration{}, false
	}
	return r[i], true
}

// New returns the router of a provider. An unknown provider is an *InvalidError, never a silent default.
func (r Registry) New(provider string, c client.Client, live client.Reader) (Router, error) {
	reg, ok := r.Find(provider)
	if !ok {
		return nil, Unknown(provider, r.Names())
	}
	return reg.New(c, live), nil
}

// Unknown refuses a provider that is none of these.
func Unknown(provider string, names []string) *InvalidError {
	return &InvalidError{
		Router: provider, Field: "spec.provider", Message: fmt.Sprintf("unknown provider %q: use one of %v", provider, names),
	}
}

// AddToScheme adds the kinds of all routers.
func (r Registry) AddToScheme(s *runtime.Scheme) error {
	for _, reg := range r {
		if reg.AddToScheme == nil {
			continue
		}
		if err := reg.AddToScheme(s); err != nil {
			return fmt.Errorf("adding the kinds of provider %v: %w", reg.Names, err)
		}
	}
	return nil
}

// Claims are the objects that a Canary of this provider claims.
func (r Registry) Claims(provider string, c *siskinv1.Canary) []Claim {
	reg, ok := r.Find(provider)
	if !ok || reg.Claims == nil {
		return nil
	}
	return reg.Claims(c)
}

// Matters reports whether an update of a generated object matters to all routers.
func (r Registry) Matters(before, after client.Object) bool {
	return !slices.ContainsFunc(r, func(reg Registration) bool { return reg.Matters != nil && !reg.Matters(before, after) })
}

// Made are the routers whose kinds an API server has.
type Made struct {
	// Routers by provider.
	Routers map[string]Router
	// All has each of them once.
	All []Router
	// Owns and Watches are the kinds of the routers that the API server has, Owns each once.
	Owns    []client.Object
	Watches []Watch
	// Missing are the providers that are not available.
	Missing []string
}

// Make makes the routers whose objects the API server knows: a Siskin without the CRDs of a gateway runs all the same. c reads from
// caches, live from the API server. Errors are those of the mapper, but for a kind that is not there.
func (r Registry) Make(c client.Client, live client.Reader, mapper meta.RESTMapper) (Made, error) {
	out := Made{Routers: map[string]Router{}}
	seen := map[string]bool{}
	for _, reg := range r {
		available := true
		for _, obj := range reg.Owns {
			kind, ok, err := served(c, mapper, obj)
			if err != nil {
				return Made{}, err
			}
			available = available && ok
			if ok && !seen[kind] {
				seen[kind] = true
				out.Owns = append(out.Owns, obj)
			}
		}
		if !available {
			out.Missing = append(out.Missing, reg.Names...)
			continue
		}
		for _, w := range reg.Watches {
			_, ok, err := served(c, mapper, w.Object)
			if err != nil {
				return Made{}, err
			}
			if ok {
				out.Watches = append(out.Watches, w)
			}
		}
		made := reg.New(c, live)
		out.All = append(out.All, made)
		for _, name := range reg.Names {
			if out.Routers[name] == nil {
				out.Routers[name] = made
			}
		}
	}
	return out, nil
}

// served tells whether the API server has the kind of an object, and what it is called.
func served(c client.Client, mapper meta.RESTMapper, obj client.Object) (kind string, ok bool, err error) {
	gvk, err := c.GroupVersionKindFor(obj)
	if err == nil {
		_, err = mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil && !meta.IsNoMatchError(err) { // not an answer: a start without a provider would strand its rollouts
		return "", false, fmt.Errorf("finding out whether %s is served: %w", gvk, err)
	}
	return gvk.String(), err == nil, nil
}
