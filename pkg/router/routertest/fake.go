package routertest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/metrics/meter"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Call is one call of a Fake.
type Call struct {
	// Op is Apply, Observe, Release, Orphan or GiveBack.
	Op string
	// App is namespace/name of the Canary.
	App string
	// Split of the intent.
	Split router.Split
	// Expires tells that users were to drop their cookies.
	Expires bool
	// Err that was returned.
	Err error
}

// route is what a Fake keeps of one app.
type route struct {
	split router.Split
	// rest is what else the objects say: the audience and the cookies.
	rest string
	// wait is the number of Observe calls until it is accepted.
	wait int
	// by is the foreign writer who wrote it; "" is Siskin.
	by string
}

// fight is a foreign writer who writes again whatever Siskin writes.
type fight struct {
	by    string
	split router.Split
	times int
}

// Fake is a router in memory, with faults on demand. It may be used from several goroutines.
type Fake struct {
	// Name that its errors carry.
	Name string

	mu       sync.Mutex
	caps     router.Capabilities
	delay    int
	invalid  *router.InvalidError
	rejected *router.Observation
	partly   *router.Observation
	counted  bool
	rivals   []router.Rival
	fail     map[string][]error
	routes   map[string]*route
	fights   map[string]*fight
	calls    []Call
}

var (
	_ router.Router    = (*Fake)(nil)
	_ router.Contested = (*Fake)(nil)
)

// NewFake returns a Fake with these capabilities; it accepts at once.
func NewFake(caps router.Capabilities) *Fake {
	return &Fake{Name: "fake", caps: caps, fail: map[string][]error{}, routes: map[string]*route{}, fights: map[string]*fight{}}
}

// Registration registers this very Fake under its name.
func (f *Fake) Registration() router.Registration {
	return router.Registration{Names: []string{f.Name}, New: func(client.Client, client.Reader) router.Router { return f }}
}

// AcceptAfter makes every split that is written from now on be accepted by the nth Observe after the first: 0 is at once.
func (f *Fake) AcceptAfter(observes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = observes
}

// Refuse makes the data plane refuse every split, until Relent.
func (f *Fake) Refuse(reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejected = &router.Observation{Reason: reason, Message: message}
}

// AcceptPartly makes one of several gateways leave every split unanswered, until Relent: the data plane carries it out here and not
// there.
func (f *Fake) AcceptPartly(message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.partly = &router.Observation{Reason: "NotReconciled", Message: message}
}

// Count makes the data plane count requests by route, as Traefik does, beside routes of others that claim the same
// requests.
func (f *Fake) Count(rivals ...router.Rival) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counted, f.rivals = true, rivals
}

// Rivals returns what Count was given.
func (f *Fake) Rivals(context.Context, router.Intent) ([]router.Rival, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rivals, f.next("Rivals")
}

// Relent ends Refuse and AcceptPartly.
func (f *Fake) Relent() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rejected, f.partly = nil, nil
}

// FailNext makes the next call of op (Apply, Observe, Release, Orphan, GiveBack) return err and do nothing. Several are returned in turn.
func (f *Fake) FailNext(op string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[op] = append(f.fail[op], err)
}

// Revert plays a foreign writer: the objects of app (namespace/name) state another split.
func (f *Fake) Revert(app string, split router.Split) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes[app] = &route{split: split, wait: f.delay, by: "somebody-else"}
}

// Fight plays a foreign writer, such as a GitOps tool that owns the route: the next so many times that Siskin writes the objects of app,
// they state this split right after.
func (f *Fake) Fight(app, manager string, split router.Split, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fights[app] = &fight{by: manager, split: split, times: times}
}

// Delete plays somebody who deletes the objects of app.
func (f *Fake) Delete(app string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.routes, app)
}

// Split returns what the objects of app state.
func (f *Fake) Split(app string) (router.Split, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.routes[app]
	if !ok {
		return router.Split{}, false
	}
	return r.split, true
}

// Calls returns all calls so far.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Capabilities returns what NewFake was given.
func (f *Fake) Capabilities(context.Context, *siskinv1.Canary) router.Capabilities {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.caps
}

// SetCapabilities changes what the data plane can do, as a new version of it does.
func (f *Fake) SetCapabilities(caps router.Capabilities) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caps = caps
}

// Invalidate makes Validate refuse every intent for a field of the Canary; "" ends it. Like a real router, Apply still moves weights.
func (f *Fake) Invalidate(field, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.invalid = nil
	if field != "" {
		f.invalid = &router.InvalidError{Router: f.Name, Field: field, Message: message}
	}
}

// Validate refuses what Invalidate says.
func (f *Fake) Validate(router.Intent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.invalid != nil {
		return f.invalid
	}
	return nil
}

// Apply stores the split.
func (f *Fake) Apply(_ context.Context, in router.Intent) (router.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.next("Apply")
	if err == nil {
		err = f.caps.Check(f.Name, in)
	}
	f.record("Apply", in, err)
	if err != nil {
		return router.Receipt{}, err
	}
	r, ok := f.routes[app(in)]
	if ok && r.split == in.Split && r.rest == rest(in) {
		return router.Receipt{}, nil
	}
	receipt := router.Receipt{Changed: true, Object: "Route " + in.Apex}
	if ok && r.by != "" {
		receipt.Foreign, receipt.By = true, r.by
	}
	f.routes[app(in)] = &route{split: in.Split, rest: rest(in), wait: f.delay}
	if other := f.fights[app(in)]; other != nil && other.times > 0 {
		other.times--
		f.routes[app(in)] = &route{split: other.split, wait: f.delay, by: other.by}
	}
	return receipt, nil
}

// rest is what an intent asks for besides the split.
func rest(in router.Intent) string {
	var out string
	if in.Split.Audience {
		raw, err := json.Marshal(in.Audience)
		if err != nil {
			return err.Error()
		}
		out = string(raw)
	}
	if in.Sticky() {
		out += " " + in.Affinity.CookieName + "=" + in.Affinity.Token + " " + in.Affinity.PrimaryCookieName + "=" + in.Affinity.PrimaryToken
	}
	if in.Expires() {
		out += " " + in.Expired.CookieName + " is dropped"
	}
	return out
}

// Observe tells what is stored; every call brings the acceptance closer.
func (f *Fake) Observe(_ context.Context, in router.Intent) (router.Observation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.next("Observe")
	f.record("Observe", in, err)
	if err != nil {
		return router.Observation{}, err
	}
	r, ok := f.routes[app(in)]
	if !ok {
		return router.Observation{Reason: "RouteMissing", Message: "Nothing was written."}, nil
	}
	obs := router.Observation{Current: r.split, Known: true, MetricsKind: meter.App, Counted: f.counted}
	if f.counted {
		obs.MetricsKind = meter.Traefik
	}
	switch {
	case r.split != in.Split || r.rest != rest(in):
		obs.Reason, obs.Message = "SpecDiffers", fmt.Sprintf("The objects say %s.", r.split)
	case f.rejected != nil:
		obs.Evidence, obs.Rejected = min(router.EvidenceWritten, f.caps.Ceiling), true
		obs.Reason, obs.Message = f.rejected.Reason, f.rejected.Message
	case f.partly != nil:
		obs.Evidence = min(router.EvidenceWritten, f.caps.Ceiling)
		obs.Reason, obs.Message = f.partly.Reason, f.partly.Message
	case r.wait > 0:
		r.wait--
		obs.Evidence = min(router.EvidenceWritten, f.caps.Ceiling)
		obs.Reason, obs.Message = "NotReconciled", "Nobody has answered yet."
	default:
		obs.Evidence = f.caps.Ceiling
	}
	return obs, nil
}

// Release forgets the app.
func (f *Fake) Release(_ context.Context, in router.Intent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.next("Release")
	f.record("Release", in, err)
	if err == nil {
		delete(f.routes, app(in))
	}
	return err
}

// Orphan leaves what is stored.
func (f *Fake) Orphan(_ context.Context, in router.Intent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.next("Orphan")
	f.record("Orphan", in, err)
	return err
}

// GiveBack leaves what is stored: it has adopted nothing.
func (f *Fake) GiveBack(_ context.Context, in router.Intent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.next("GiveBack")
	f.record("GiveBack", in, err)
	return err
}

func (f *Fake) next(op string) error {
	if len(f.fail[op]) == 0 {
		return nil
	}
	err := f.fail[op][0]
	f.fail[op] = f.fail[op][1:]
	return err
}

func (f *Fake) record(op string, in router.Intent, err error) {
	f.calls = append(f.calls, Call{Op: op, App: app(in), Split: in.Split, Expires: in.Expires(), Err: err})
}

func app(in router.Intent) string { return in.Owner.Namespace + "/" + in.Owner.Name }
